import { SimulatedClient } from "./client.ts";
import { Ledger, Watch } from "./ledger.ts";
import type { Hurt } from "./network.ts";
import { VERSIONS } from "./packets.ts";
import { SimulatedDaemon } from "./simulated-daemon.ts";
import { Stage } from "./stage.ts";
import { type ConnectAnswer, Upstream } from "./upstream.ts";

const EDGE_PORT = 1883;
const CENTRAL_PORT = 1884;
export const MAX_RECONNECT_MS = 10_000;
/** A dialling, CONNECT and CONNACK take some trips. */
const HANDSHAKE_MS = 500;
const MAX_LASTING_MS = 60_000;
/** What has to be sent again because its acknowledgement was swallowed goes after half a minute. */
const CATCH_UP_MS = 45_000;
const DAY_MS = 86_400_000;

/** Something that goes wrong with the upstream, or on the way there; it begins, lasts and ends. */
interface Fault {
  readonly begin: (lastsMs: number) => void;
  readonly end?: () => void;
}

export type FaultName =
  | "reset" | "fin" | "halfOpen" | "silence" | "blackHole" | "refused" | "noName" | "connack1" | "connack2" | "connack3" | "connack4" | "connack5"
  | "garbage" | "close" | "noConnack" | "subackFailure" | "noSuback" | "swallow" | "noPingresp" | "sessionLost" | "clockJump";

/** A daemon whose bridge goes to an upstream with which one thing after the other goes wrong, and traffic over the bridge all the time. */
export class BridgeFaults extends Stage {
  readonly ledger = new Ledger();
  readonly localWatch = this.watch("local", "");
  readonly remoteWatch = this.watch("upstream", "site/");
  private readonly edge: SimulatedDaemon;
  private readonly upstream = new Upstream(CENTRAL_PORT, this.network, this.clock, this.rng, {
    onMessage: (topic, payload, qos) => this.remoteWatch.take(topic, payload, qos),
    onViolation: (text) => this.onViolation(text),
  });
  private readonly publisher = this.client("publisher", []);
  private readonly local = this.client("local", ["cmd/#"]);
  /** When the bridge still had a connection through which nothing came. */
  private brokenMs = 0;

  /** `version`: as `bridge_protocol_version` has it. */
  constructor(seed: number, version: string) {
    super(seed);
    this.edge = new SimulatedDaemon("edge", `
listener ${EDGE_PORT}
max_queued_messages 0
connection up
address central:${CENTRAL_PORT}
reconnect_interval 1
max_reconnect_interval ${MAX_RECONNECT_MS / 1000}
keepalive_interval 10
connect_timeout 8
bridge_protocol_version ${version}
topic s/# out 2 "" site/
topic cmd/# in 2
`, this);
  }

  private watch(name: string, prefix: string): Watch {
    return new Watch(name, this.ledger, { prefix, onViolation: (text) => this.onViolation(text) });
  }

  private client(id: string, filters: readonly string[]): SimulatedClient {
    const onMessage = (topic: string, payload: string, qos: 0 | 1 | 2): void => this.localWatch.take(topic, payload, qos);
    const onViolation = (text: string): void => this.onViolation(text);
    const options = { id, port: EDGE_PORT, versions: VERSIONS, filters: filters.map((filter) => ({ filter, qos: 2 as const })), maxReconnectMs: 20, keepAliveSeconds: 0, onMessage, onViolation };
    return new SimulatedClient(options, this.network, this.clock, this.rng);
  }

  private readonly faults: Readonly<Record<FaultName, Fault>> = {
    reset: { begin: () => this.cut("reset") },
    fin: { begin: () => this.cut("fin") },
    halfOpen: { begin: () => this.cut("vanish") },
    silence: { begin: (ms) => this.network.silence(CENTRAL_PORT, ms) },
    blackHole: {
      begin: (ms) => {
        this.cut("blackHole");
        this.network.darken(CENTRAL_PORT, ms);
      },
    },
    refused: {
      begin: () => {
        this.upstream.stopListening();
        this.cut("reset");
      },
      end: () => this.upstream.start(),
    },
    noName: {
      begin: () => {
        this.edge.hasNames = false;
        this.cut("reset");
      },
      end: () => (this.edge.hasNames = true),
    },
    connack1: this.answer(1),
    connack2: this.answer(2),
    connack3: this.answer(3),
    connack4: this.answer(4),
    connack5: this.answer(5),
    garbage: this.answer("garbage"),
    close: this.answer("close"),
    noConnack: this.answer("silence"),
    subackFailure: this.suback("refused"),
    noSuback: this.suback("silence"),
    swallow: { begin: () => (this.upstream.swallow += 1), end: () => (this.upstream.swallow = 0) },
    noPingresp: { begin: () => (this.upstream.answersPings = false), end: () => (this.upstream.answersPings = true) },
    sessionLost: { begin: () => this.forget() },
    clockJump: { begin: () => (this.clock.wallOffsetMs += (this.rng() - 0.5) * 20 * DAY_MS) },
  };

  private cut(how: Hurt): void {
    this.network.hurt(how, 1, CENTRAL_PORT);
  }

  private answer(answer: ConnectAnswer): Fault {
    return {
      begin: () => {
        this.upstream.answer = answer;
        this.cut("reset");
      },
      end: () => (this.upstream.answer = 0),
    };
  }

  private suback(suback: Upstream["suback"]): Fault {
    return {
      begin: () => {
        this.upstream.suback = suback;
        this.cut("reset");
      },
      end: () => (this.upstream.suback = "granted"),
    };
  }

  /** What was in exchange may come twice, and what the upstream had not brought through is lost: that is the protocol's. */
  private forget(): void {
    for (const key of this.edge.messagesFor("up")) this.remoteWatch.mayRepeat.add(key.slice(key.indexOf(" ") + 1));
    for (const { payload } of this.upstream.forget()) this.ledger.excuse(payload);
  }

  get names(): FaultName[] {
    return Object.keys(this.faults) as FaultName[]; // the keys of a Record<FaultName, ...>
  }

  private get isConnected(): boolean {
    return this.upstream.isConnected && this.network.wholeConnections(this.edge.owner, CENTRAL_PORT) === 1;
  }

  protected override look(): void {
    const { network, edge } = this;
    if (network.connections(edge.owner, CENTRAL_PORT) > network.wholeConnections(edge.owner, CENTRAL_PORT)) this.brokenMs = this.elapsedMs;
  }

  async start(): Promise<void> {
    this.upstream.start();
    this.edge.start();
    this.publisher.start();
    this.local.start();
    await this.until(() => this.isConnected && this.upstream.isSubscribed && this.local.isSubscribed, "the first connection");
    const publishSome = (): void => {
      this.publishOne();
      this.clock.after(this.rng() * 8_000, publishSome);
    };
    publishSome();
  }

  /** Retained or not; the upstream's while it knows the bridge. */
  private publishOne(): void {
    const qos = this.pick([0, 1, 2] as const);
    const retain = qos > 0 && this.rng() < 0.4;
    const fromUpstream = this.rng() < 0.3 && this.upstream.isSubscribed;
    const topic = fromUpstream ? `cmd/upstream/${qos}` : `s/publisher/${qos}`;
    (fromUpstream ? this.upstream : this.publisher).publish({ topic, payload: this.ledger.add(topic, "value"), qos, retain: retain && !fromUpstream });
  }

  /** One fault, from its beginning to the moment when everything has come through. Returns how long after its end the bridge was connected. */
  async suffer(name: FaultName): Promise<number> {
    const fault = this.faults[name];
    const lastsMs = this.rng() * MAX_LASTING_MS;
    for (let count = this.pick([0, 1, 5]); count > 0; count--) this.publishOne();
    fault.begin(lastsMs);
    await this.runFor(lastsMs);
    fault.end?.();
    const endMs = this.elapsedMs;
    await this.until(() => this.isConnected, `a connection after ${name}`, MAX_RECONNECT_MS * 10, 1);
    // A connection that is dead has to be found dead first: keep alive does.
    const reconnectMs = Math.max(0, this.elapsedMs - Math.max(endMs, this.brokenMs));
    if (reconnectMs > MAX_RECONNECT_MS + HANDSHAKE_MS) this.onViolation(`${name}: connected ${reconnectMs} ms after it was over`);
    const isThrough = (): boolean => this.publisher.unfinished + this.upstream.unfinished + this.remoteWatch.missingBelow("s/") + this.localWatch.missingBelow("cmd/") === 0;
    await this.until(isThrough, `what was published during ${name}`, CATCH_UP_MS);
    return reconnectMs;
  }
}
