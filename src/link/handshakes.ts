import type net from "node:net";

/** Time from a socket's first moment to the end of its handshake. */
const LIMIT_MS = 10_000;
/** Sockets whose handshake is not over, those that have said nothing yet included; the oldest gives way. */
const MAX_PENDING = 1_000;
/** Handshakes that go on at a time. */
const MAX_GOING = 100;
/** When others wait, a handshake that has gone on for so long gives way. */
const PATIENCE_MS = 1_000;
/** Each costs a signature, during which nothing else happens. */
const MAX_STARTS_A_TURN = 4;

interface Handshake {
  readonly socket: net.Socket;
  readonly start: () => void;
  readonly deadline: NodeJS.Timeout;
  startedMs: number;
}

/** The TLS handshakes of all listeners: few at a time, each with its deadline, so that they hold up nobody who is connected. */
class Handshakes {
  /** Oldest first. */
  private readonly pending = new Map<net.Socket, Handshake>();
  /** Those whose first bytes have come, oldest first. */
  private readonly waiting: Handshake[] = [];
  /** Oldest first. */
  private readonly going = new Set<Handshake>();
  private isScheduled = false;
  private patience: NodeJS.Timeout | undefined;

  get size(): number {
    return this.pending.size;
  }

  /** Calls `start` when the socket has sent its first bytes and its turn has come; never if it is destroyed before. */
  add(socket: net.Socket, start: () => void): void {
    if (this.pending.size >= MAX_PENDING) this.endOldest();
    const handshake: Handshake = { socket, start, startedMs: 0, deadline: setTimeout(() => socket.destroy(), LIMIT_MS).unref() };
    this.pending.set(socket, handshake);
    socket.on("error", () => undefined);
    socket.once("close", () => this.over(socket));
    socket.once("readable", () => {
      if (socket.readableLength === 0) return void socket.destroy(); // it has ended without a word
      this.waiting.push(handshake);
      this.proceed();
    });
  }

  /** The socket's handshake has been finished, or given up. */
  over(socket: net.Socket): void {
    const handshake = this.pending.get(socket);
    if (!handshake) return;
    clearTimeout(handshake.deadline);
    this.pending.delete(socket);
    const place = this.waiting.indexOf(handshake);
    if (place >= 0) this.waiting.splice(place, 1);
    if (this.going.delete(handshake)) this.proceed();
  }

  /** False: there is none. */
  endOldest(): boolean {
    const [oldest] = this.pending.values();
    if (oldest) this.end(oldest);
    return oldest !== undefined;
  }

  private end({ socket }: Handshake): void {
    socket.destroy();
    this.over(socket);
  }

  private proceed(): void {
    if (this.isScheduled || this.waiting.length === 0) return;
    this.isScheduled = true;
    setImmediate(() => {
      this.isScheduled = false;
      for (let starts = 0; starts < MAX_STARTS_A_TURN && this.waiting.length > 0 && this.hasRoom(); starts++) this.startNext();
      if (this.going.size < MAX_GOING) this.proceed();
    });
  }

  private startNext(): void {
    // The youngest: when more come than can be served, those that have waited long are of no use any more.
    const next = this.waiting.pop();
    if (!next) return;
    this.going.add(next);
    next.startedMs = performance.now();
    next.start();
  }

  private hasRoom(): boolean {
    if (this.going.size < MAX_GOING) return true;
    const [oldest] = this.going;
    const leftMs = (oldest?.startedMs ?? 0) + PATIENCE_MS - performance.now();
    if (oldest && leftMs <= 0) {
      this.end(oldest);
      return true;
    }
    this.patience ??= setTimeout(() => {
      this.patience = undefined;
      this.proceed();
    }, leftMs).unref();
    return false;
  }
}

export const handshakes = new Handshakes();
