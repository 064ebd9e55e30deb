import type { Hurt } from "./network.ts";
import type { ConnectAnswer, Upstream } from "./upstream.ts";
import type { SimulatedDaemon } from "./simulated-daemon.ts";
import { CENTRAL_PORT, EDGE_PORT, type World } from "./world.ts";

const MAX_DOWN_MS = 2_000;
const MAX_LASTING_MS = 5_000;
const HURTS: readonly Hurt[] = ["reset", "fin", "vanish", "blackHole", "stall"];
const ANSWERS: readonly ConnectAnswer[] = [1, 2, 3, 4, 5, "silence", "garbage", "close"];

/** What goes wrong in a world: some kinds of faults, chosen by the seed, one after the other. */
export class Faults {
  private readonly kinds: readonly (() => void)[];
  private readonly hurts: readonly Hurt[];

  constructor(private readonly world: World) {
    this.hurts = this.some(HURTS, 0.5);
    const { edge, central, upstream } = world;
    const everywhere = [
      () => this.cut(undefined),
      () => this.cut(CENTRAL_PORT),
      () => world.network.darken(world.pick([EDGE_PORT, CENTRAL_PORT]), this.lasting()),
      () => this.crash(edge),
      () => this.crash(edge),
      () => this.restart(edge),
      () => this.troubleDisk(edge),
      () => world.pick(this.clients).reconnect(),
      () => world.pick(world.subscribers).sulk(this.lasting()),
      () => world.pick(world.subscribers).stopReading(this.lasting()),
    ];
    const there = central ? this.ofCentral(central) : upstream ? this.ofUpstream(upstream) : [];
    this.kinds = this.some([...everywhere, ...there], 0.4);
  }

  private ofCentral(central: SimulatedDaemon): (() => void)[] {
    return [
      () => this.crash(central),
      () => this.restart(central),
      () => this.troubleDisk(central),
    ];
  }

  private ofUpstream(upstream: Upstream): (() => void)[] {
    const { clock, pick } = { clock: this.world.clock, pick: <T>(choices: readonly T[]): T => this.world.pick(choices) };
    const forAWhile = (undo: () => void): void => void clock.after(this.lasting(), undo);
    return [
      () => {
        upstream.answer = pick(ANSWERS);
        upstream.connection?.transport.destroy();
        forAWhile(() => (upstream.answer = 0));
      },
      () => this.forget(upstream),
      () => upstream.repeat(),
      () => (upstream.swallow += 1),
      () => (upstream.refuses += 1),
      () => upstream.sulk(this.lasting()),
      () => {
        upstream.answersPings = false;
        forAWhile(() => (upstream.answersPings = true));
      },
      () => {
        upstream.stopListening();
        upstream.connection?.transport.destroy();
        forAWhile(() => upstream.start());
      },
      () => {
        this.world.edge.hasNames = false;
        forAWhile(() => (this.world.edge.hasNames = true));
      },
    ];
  }

  /** Each with a probability; at least one. */
  private some<T>(choices: readonly T[], probability: number): T[] {
    const chosen = choices.filter(() => this.world.rng() < probability);
    return chosen.length > 0 ? chosen : [this.world.pick(choices)];
  }

  private get clients(): World["subscribers"] {
    return [...this.world.subscribers, ...this.world.publishers];
  }

  private lasting(): number {
    return this.world.rng() * MAX_LASTING_MS;
  }

  strike(): void {
    this.world.pick(this.kinds)();
  }

  /** What lasts ends; nothing new comes. */
  end(): void {
    const { daemons, upstream, edge } = this.world;
    for (const daemon of daemons) {
      daemon.troubleDisk("none");
      if (!daemon.isRunning) daemon.start();
    }
    edge.hasNames = true;
    if (!upstream) return;
    upstream.answer = 0;
    upstream.answersPings = true;
    upstream.swallow = 0;
    upstream.refuses = 0;
    upstream.start();
  }

  private troubleDisk(daemon: SimulatedDaemon): void {
    daemon.troubleDisk(this.world.pick(["fails", "full", "none"] as const));
    this.world.ledger.hasRefusals = true;
  }

  private cut(port: number | undefined): void {
    const { network, rng } = this.world;
    network.hurt(this.world.pick(this.hurts), rng(), port);
  }

  private crash(daemon: SimulatedDaemon): void {
    const { edge, local, collector, upstream } = this.world;
    if (!daemon.isRunning) return daemon.start();
    daemon.crash();
    const subscriber = daemon === edge ? local : collector;
    subscriber?.daemonCrashed(daemon.messagesFor(subscriber.id));
    if (daemon === edge) upstream?.bridgeCrashed(edge.messagesFor("up"));
    this.startLater(daemon);
  }

  private restart(daemon: SimulatedDaemon): void {
    if (!daemon.isRunning) return daemon.start();
    daemon.stop();
    this.startLater(daemon);
  }

  private startLater(daemon: SimulatedDaemon): void {
    const { clock, rng } = this.world;
    clock.after(rng() * MAX_DOWN_MS, () => {
      if (!daemon.isRunning) daemon.start();
    });
  }

  /** What was in exchange may come twice, and what the upstream had not brought through is lost: that is the protocol's. */
  private forget(upstream: Upstream): void {
    const { edge, remoteWatch, ledger } = this.world;
    for (const key of edge.messagesFor("up")) remoteWatch.mayRepeat.add(key.slice(key.indexOf(" ") + 1));
    for (const { payload } of upstream.forget()) ledger.excuse(payload);
  }
}
