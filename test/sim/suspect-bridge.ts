import { SimulatedClient } from "./client.ts";
import { Ledger, Watch } from "./ledger.ts";
import { VERSIONS } from "./packets.ts";
import { SimulatedDaemon } from "./simulated-daemon.ts";
import { Stage } from "./stage.ts";
import { Upstream } from "./upstream.ts";

const EDGE_PORT = 1883;
const CENTRAL_PORT = 1884;
const CUTTING_MS = 100_000;
const PARKED = /CWNAN0329/;

/** A bridge whose connections end: because the network cuts them, or because of what it sends. */
export class SuspectBridge extends Stage {
  cuts = 0;
  private readonly ledger = new Ledger();
  /** Then the upstream knows nothing on each connection, and what it had is sent as new: with QoS 2 it may get that twice. */
  private readonly isForgotten = this.pick([false, false, true]);
  private readonly watch = new Watch("upstream", this.ledger, { prefix: "site/", onViolation: (text) => this.onViolation(text) });
  private readonly edge = new SimulatedDaemon("edge", `
listener ${EDGE_PORT}
max_queued_messages 0
max_inflight_messages ${this.pick([1, 10])}
log_level config
connection up
address central:${CENTRAL_PORT}
reconnect_interval 1
max_reconnect_interval ${this.pick([1, 4])}
keepalive_interval 10
cleansession ${this.isForgotten}
topic s/# out 2 "" site/
topic h/# out 2 "" site/ high
topic poison out 2 "" "" ${this.pick(["high", "normal", "low"])}
`, this);
  private readonly upstream = new Upstream(CENTRAL_PORT, this.network, this.clock, this.rng, {
    onMessage: (topic, payload, qos) => {
      if (topic !== "poison") this.watch.take(topic, payload, qos);
    },
    onViolation: (text) => this.onViolation(text),
  });
  private readonly publisher = new SimulatedClient(
    { id: "publisher", port: EDGE_PORT, versions: VERSIONS, filters: [], maxReconnectMs: 20, keepAliveSeconds: 0, onMessage: () => undefined, onViolation: (text) => this.onViolation(text) },
    this.network,
    this.clock,
    this.rng,
  );
  private isPublishing = true;
  private poison = 0;

  /** A message that is put aside is a line of level E. */
  override onViolation(text: string): void {
    if (this.poison === 0 || !PARKED.test(text) || !text.includes("message on poison")) super.onViolation(text);
  }

  private count(line: RegExp): number {
    return this.edge.lines.filter((text) => line.test(text)).length;
  }

  private async begin(maxPauseMs: number): Promise<void> {
    this.upstream.start();
    this.edge.start();
    this.publisher.start();
    await this.until(() => this.upstream.isConnected, "the first connection");
    const publish = (): void => {
      if (!this.isPublishing) return;
      const qos = this.isForgotten ? 1 : this.pick([1, 2] as const);
      const topic = `${this.pick(["s", "h"])}/publisher/${qos}`;
      this.publisher.publish({ topic, payload: this.ledger.add(topic, "value"), qos, retain: false });
      this.clock.after(this.rng() * maxPauseMs, publish);
    };
    publish();
  }

  private async everythingComes(): Promise<void> {
    this.isPublishing = false;
    await this.until(() => this.publisher.unfinished === 0 && this.watch.missingBelow("") === 0, "the last message");
  }

  /** Cuts at any rate, so that connections last as long as messages take, or much longer; the upstream answers soon or late. */
  async sufferCuts(): Promise<void> {
    await this.begin(this.pick([200, 2_000]));
    const meanMs = 50 * 200 ** this.rng();
    const sulksMs = this.pick([0, 0, 50, 500, 5_000]);
    const endMs = this.elapsedMs + CUTTING_MS;
    while (this.elapsedMs < endMs && this.complaints.length === 0) {
      await this.runFor(-Math.log(1 - this.rng()) * meanMs);
      if (this.upstream.isConnected) this.cuts += 1;
      this.network.hurt(this.pick(["reset", "fin"]), 1, CENTRAL_PORT);
      if (sulksMs > 0 && !this.upstream.isSulking) this.upstream.sulk(this.rng() * sulksMs);
    }
    await this.everythingComes();
  }

  /** A few messages whose PUBLISH or PUBREL the upstream answers by closing, among others, with a cut now and then. */
  async takePoison(): Promise<void> {
    const closesOn = this.pick(["PUBLISH", "PUBREL"] as const);
    this.upstream[closesOn === "PUBLISH" ? "closesOn" : "closesOnReleaseOf"] = /^poison/;
    await this.begin(1_000);
    const messages = (this.poison = this.pick([1, 2]));
    for (let number = 1; number <= messages; number++) {
      await this.runFor(this.rng() * 20_000);
      this.publisher.publish({ topic: "poison", payload: `poison ${number}`, qos: closesOn === "PUBREL" ? 2 : this.pick([1, 2]), retain: false });
    }
    for (let cut = this.pick([0, 2]); cut > 0; cut--) {
      await this.runFor(this.rng() * 20_000);
      this.network.hurt("reset", 1, CENTRAL_PORT);
    }
    await this.until(() => this.count(PARKED) >= messages, "the verdict", 600_000);
    await this.everythingComes();
    if (this.count(PARKED) > messages) this.onViolation("put aside more than the poison");
  }
}
