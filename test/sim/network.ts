import type { Clock, Rng } from "../../src/clock/clock.ts";
import type { Transport, TransportListener } from "../../src/link/transport.ts";

type Accept = (open: (listener: TransportListener) => Transport) => void;

const MAX_LATENCY_MS = 30;
const MAX_PIECES = 3;

/** One end of a connection. What is written arrives at the other end later, in order, in pieces. */
class End implements Transport {
  readonly remoteAddress = "sim:0";
  unsentBytes = 0;
  progressMark = 0;
  other!: End; // set when the pair is made
  listener: TransportListener | undefined;
  /** Whose process has died: it hears nothing any more. */
  isDead = false;
  private isClosed = false;
  private isEnded = false;
  private isPaused = false;
  private readonly underWay: (Buffer | "end")[] = [];
  private readonly arrived: (Buffer | "end")[] = [];

  constructor(
    readonly network: Network,
    readonly owner: string,
  ) {}

  write(bytes: Buffer, done: () => void): void {
    const copy = Buffer.from(bytes);
    done();
    if (this.isClosed || this.isEnded) return;
    this.unsentBytes += copy.length;
    this.send(copy);
  }

  end(): void {
    if (this.isClosed || this.isEnded) return;
    this.isEnded = true;
    this.send("end");
  }

  /** Each arrival takes the oldest that is under way, so that nothing overtakes. */
  private send(item: Buffer | "end"): void {
    const { clock, rng } = this.network;
    this.underWay.push(item);
    clock.after(rng() * MAX_LATENCY_MS, () => this.other.take(this.underWay.shift()!)); // one was put there for each timer
  }

  private take(item: Buffer | "end"): void {
    if (this.isClosed) return;
    this.arrived.push(item);
    this.readArrived();
  }

  private readArrived(): void {
    while (!this.isPaused && !this.isClosed) {
      const item = this.arrived.shift();
      if (item === undefined) return;
      if (item === "end") {
        this.other.closeNow(undefined);
        return this.closeNow(undefined);
      }
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
      const read = Buffer.from(item.subarray(from, to));
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

  destroy(): void {
    this.closeNow(undefined);
    this.network.clock.after(0, () => this.other.closeNow(new Error("reset")));
  }

  closeNow(error: Error | undefined): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.network.forget(this);
    if (!this.isDead) this.listener?.onClose(error);
  }
}

/** Ports by number, connections between named processes, and ways to hurt them. */
export class Network {
  private readonly ports = new Map<number, { readonly owner: string; readonly accept: Accept }>();
  private readonly ends = new Set<End>();

  constructor(
    readonly clock: Clock,
    readonly rng: Rng,
  ) {}

  listen(owner: string, port: number, accept: Accept): void {
    this.ports.set(port, { owner, accept });
  }

  dial(owner: string, port: number, onConnected: Accept, onFailed: (error: Error) => void): { cancel(): void } {
    let cancelled = false;
    this.clock.after(this.rng() * MAX_LATENCY_MS, () => {
      if (cancelled) return;
      const server = this.ports.get(port);
      if (!server) return onFailed(new Error("connection refused"));
      const near = new End(this, owner);
      const far = new End(this, server.owner);
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

  /** Cuts some connections: what is on its way is lost. */
  cut(probability: number): void {
    for (const end of [...this.ends]) {
      if (this.rng() >= probability) continue;
      end.closeNow(new Error("cut"));
      end.other.closeNow(new Error("cut"));
    }
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
