import type { Socket } from "node:net";
import type { Log } from "../log/console.ts";
import { handshakes } from "./handshakes.ts";
import { lingering } from "./lingering.ts";
import { networkOf } from "./network.ts";
import { socketLimit } from "./socket-limit.ts";
import type { Strangers } from "./strangers.ts";

export interface DoorLimits {
  /** Connections from one address at a time, to all listeners together. */
  readonly maxConnectionsPerAddress: number;
}

/** A line about who was refused comes this often. */
const LOG_INTERVAL_MS = 10_000;

/** Sockets of one address, and what the end of each calls. */
interface Network {
  sockets: number;
  readonly leave: () => void;
}

/** Whether a socket that a port has accepted may stay: there are not too many of all, nor of its address. */
export class Door {
  private sockets = 0;
  private readonly networks = new Map<string, Network>();
  private loggedMs = -Infinity;

  constructor(
    /** As they are now: a reload changes them. */
    private readonly limits: DoorLimits,
    private readonly strangers: Strangers,
    private readonly log: Log,
    private readonly clock: { nowMs(): number },
    private readonly maxSockets = socketLimit(),
  ) {}

  /** False: it has been closed. */
  enter(socket: Socket): boolean {
    const name = networkOf(socket.remoteAddress ?? "");
    const network = this.networks.get(name) ?? { sockets: 0, leave: () => this.leave(name) };
    if (network.sockets >= this.limits.maxConnectionsPerAddress) return this.refuse(socket, name, network.sockets);
    if (this.sockets >= this.maxSockets && !this.makeRoom()) return this.refuse(socket, undefined, this.sockets);
    this.sockets += 1;
    network.sockets += 1;
    this.networks.set(name, network);
    socket.once("close", network.leave);
    return true;
  }

  /** Those give way who have been shown out, then those who may be nobody: at whichever door more of them stand. */
  private makeRoom(): boolean {
    if (lingering.endOldest()) return true;
    const crowd = handshakes.size > this.strangers.size ? handshakes : this.strangers;
    return crowd.endOldest();
  }

  private leave(name: string): void {
    const network = this.networks.get(name);
    if (!network) return;
    this.sockets -= 1;
    network.sockets -= 1;
    if (network.sockets === 0) this.networks.delete(name);
  }

  private refuse(socket: Socket, network: string | undefined, sockets: number): false {
    socket.destroy();
    const nowMs = this.clock.nowMs();
    if (nowMs - this.loggedMs < LOG_INTERVAL_MS) return false;
    this.loggedMs = nowMs;
    if (network === undefined) this.log.write("tooManySockets", { sockets });
    else this.log.write("tooManyOfAddress", { address: network, sockets });
    return false;
  }
}
