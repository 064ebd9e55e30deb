import type { Clock, Rng } from "../../src/clock/clock.ts";
import type { Transport, TransportListener } from "../../src/link/transport.ts";

type Accept = (open: (listener: TransportListener) => Transport) => void;

const MAX_LATENCY_MS = 30;
const MAX_PIECES = 3;
/** Who has ended waits so long for the other end, as the daemon's sockets do. */
const LINGER_MS = 5_000;
/** A system gives up on bytes that nobody acknowledges after so long. */
const MAX_RETRANSMISSION_MS = 60_000;

/** One end of a connection. What is written arrives at the other end later, in order, in pieces. */
class End implements Transport {
  readonly remoteAddress = "sim:0";
  unsentBytes = 0;
  progressMark = 0;
  other!: End; // set when the pair is made
  listener: TransportListener | undefined;
  /** Whose process has died: it hears nothing any more. */
  isDead = false;
  isClosed = false;
  private isEnded = false;
  private isPaused = false;
  private isStalled = false;
  /** Nothing from the other end comes through any more, nor does its end. */
  private isDeaf = false;
  /** Not known at this end, perhaps. */
  get isWhole(): boolean {
    return !this.isClosed && !this.isDeaf && !this.isEnded && !this.other.isClosed && !this.other.isDeaf && !this.other.isEnded;
  }

  private readonly underWay: (Buffer | "end")[] = [];
  private readonly arrived: (Buffer | "end")[] = [];

  constructor(
    readonly network: Network,
    readonly owner: string,
    readonly port: number,
  ) {}

  write(bytes: Buffer, done: () => void): void {
    const copy = Buffer.from(bytes);
    done();
    if (this.isClosed || this.isEnded) return;
    this.unsentBytes += copy.length;
    this.send(copy);
    if (this.other.isDeaf || this.other.isClosed) this.giveUpUnsent();
  }

  /** The system finds in the end that nobody takes what was written. */
  private giveUpUnsent(): void {
    const { clock, rng } = this.network;
    if (this.unsentBytes > 0) clock.after(rng() * MAX_RETRANSMISSION_MS, () => this.closeNow(new Error("timed out")));
  }

  end(): void {
    if (this.isClosed || this.isEnded) return;
    this.isEnded = true;
    this.send("end");
    if (this.other.isDeaf || this.other.isClosed) return this.closeNow(undefined);
    this.network.clock.after(LINGER_MS, () => this.destroy());
  }

  /** Each arrival takes the oldest that is under way, so that nothing overtakes. */
  private send(item: Buffer | "end"): void {
    const { clock, rng } = this.network;
    this.underWay.push(item);
    clock.after(rng() * MAX_LATENCY_MS, () => this.other.take(this.underWay.shift()!)); // one was put there for each timer
  }

  private take(item: Buffer | "end"): void {
    if (this.isClosed || this.isDeaf) return;
    this.arrived.push(item);
    this.readArrived();
  }

  private readArrived(): void {
    while (!this.isPaused && !this.isStalled && !this.isDeaf && !this.isClosed) {
      const item = this.arrived.shift();
      if (item === undefined) return;
      if (item === "end") {
        this.other.closeNow(undefined);
        return this.closeNow(undefined);
      }
      if (this.isEnded) continue; // nobody listens here any more
      this.other.unsentBytes -= item.length;
      this.other.progressMark += item.length;
      this.readPieces(item);
      if (!this.other.isDead && !this.other.isClosed && this.other.unsentBytes === 0) this.other.listener?.onDrain();
    }
  }

  /** A read buffer is used again for the next read: whoever keeps bytes must have copied them. */
  private readPieces(item: Buffer): void {
    const { rng } = this.network;
    const pieces = 1 + Math.floor(rng() * MAX_PIECES);
    let from = 0;
    for (let piece = 1; piece <= pieces && !this.isClosed; piece++) {
      const to = piece === pieces ? item.length : from + Math.floor(rng() * (item.length - from));
      if (to === from) continue;
      const read = pieces === 1 ? item : Buffer.from(item.subarray(from, to));
      if (!this.isDead) this.listener?.onBytes(read);
      read.fill(0xff);
      from = to;
    }
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    if (!this.isPaused) return;
    this.isPaused = false;
    this.network.clock.endOfTurn(() => this.readArrived());
  }

  /** Nothing arrives here for a while; then all of it does. */
  stall(ms: number): void {
    this.isStalled = true;
    this.network.clock.after(ms, () => {
      this.isStalled = false;
      this.readArrived();
    });
  }

  deafen(): void {
    this.isDeaf = true;
    this.other.giveUpUnsent();
    this.giveUpUnsent();
  }

  destroy(): void {
    if (this.isClosed) return;
    this.closeNow(undefined);
    if (!this.other.isDeaf) this.network.clock.after(0, () => this.other.closeNow(new Error("reset")));
  }

  closeNow(error: Error | undefined): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.network.forget(this);
    if (!this.isDead) this.listener?.onClose(error);
    if (this.other.isEnded) this.other.closeNow(undefined);
  }
}

/** Ways in which a connection can be hurt. `vanish`: one end is gone and the other is not told; `blackHole`: nothing comes through any more. */
export type Hurt = "reset" | "fin" | "vanish" | "blackHole" | "stall";

/** Ports by number, connections between named processes, and ways to hurt them. */
export class Network {
  private readonly ports = new Map<number, { readonly owner: string; readonly accept: Accept }>();
  private readonly ends = new Set<End>();
  /** Ports that swallow whoever dials them. */
  private readonly dark = new Set<number>();

  constructor(
    readonly clock: Clock,
    readonly rng: Rng,
  ) {}

  listen(owner: string, port: number, accept: Accept): void {
    this.ports.set(port, { owner, accept });
  }

  close(port: number): void {
    this.ports.delete(port);
  }

  dial(owner: string, port: number, onConnected: Accept, onFailed: (error: Error) => void): { cancel(): void } {
    let cancelled = false;
    this.clock.after(this.rng() * MAX_LATENCY_MS, () => {
      if (cancelled) return;
      if (this.dark.has(port)) {
        this.clock.after(MAX_RETRANSMISSION_MS, () => void (cancelled || onFailed(new Error("timed out"))));
        return;
      }
      const server = this.ports.get(port);
      if (!server) return onFailed(new Error("connection refused"));
      const near = new End(this, owner, port);
      const far = new End(this, server.owner, port);
      near.other = far;
      far.other = near;
      this.ends.add(near).add(far);
      const open = (end: End) => (listener: TransportListener): Transport => {
        end.listener = listener;
        return end;
      };
      server.accept(open(far));
      onConnected(open(near));
    });
    return { cancel: () => void (cancelled = true) };
  }

  forget(end: End): void {
    this.ends.delete(end);
  }

  /** Connections that a process has dialled to a port and that are open at its end. */
  connections(owner: string, port: number): number {
    return [...this.ends].filter((end) => end.owner === owner && end.port === port).length;
  }

  /** The same, without those that nothing comes through any more. */
  wholeConnections(owner: string, port: number): number {
    return [...this.ends].filter((end) => end.owner === owner && end.port === port && end.isWhole).length;
  }

  /** Hurts each connection to `port` (to any, if not given) with this probability. */
  hurt(how: Hurt, probability: number, port?: number): void {
    for (const end of [...this.ends]) {
      if (end.isClosed || (port !== undefined && end.port !== port) || this.rng() >= probability) continue;
      const { other } = end;
      switch (how) {
        case "reset": // what is on its way is lost
          end.closeNow(new Error("reset"));
          other.closeNow(new Error("reset"));
          break;
        case "fin": // what is on its way arrives
          end.end();
          break;
        case "vanish":
          other.deafen();
          end.closeNow(new Error("host unreachable"));
          break;
        case "blackHole":
          end.deafen();
          other.deafen();
          break;
        case "stall":
          end.stall(this.rng() * 3_000);
          if (this.rng() < 0.5) other.stall(this.rng() * 3_000);
      }
    }
  }

  /** For a while nothing comes through to or from the port; then it does, on the same connections. */
  silence(port: number, ms: number): void {
    for (const end of this.ends) if (end.port === port) end.stall(ms);
    this.darken(port, ms);
  }

  /** For a while nobody who dials the port gets an answer of any kind. */
  darken(port: number, ms: number): void {
    this.dark.add(port);
    this.clock.after(ms, () => this.dark.delete(port));
  }

  /** The process is gone: its ports close, the other ends see their connections end. */
  kill(owner: string): void {
    for (const [port, server] of this.ports) if (server.owner === owner) this.ports.delete(port);
    for (const end of [...this.ends]) {
      if (end.owner !== owner) continue;
      end.isDead = true;
      end.closeNow(undefined);
      const { other } = end;
      this.clock.after(this.rng() * MAX_LATENCY_MS, () => other.closeNow(new Error("reset")));
    }
  }
}
