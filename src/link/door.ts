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

/** Whether a socket that a port has accepted may stay: there are not too many of all, nor of its address. */
export class Door {
  private sockets = 0;
  private readonly socketsOf = new Map<string, number>();
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
    const network = networkOf(socket.remoteAddress ?? "");
    const ofNetwork = this.socketsOf.get(network) ?? 0;
    if (ofNetwork >= this.limits.maxConnectionsPerAddress) return this.refuse(socket, network, ofNetwork);
    if (this.sockets >= this.maxSockets && !this.makeRoom()) return this.refuse(socket, undefined, this.sockets);
    this.sockets += 1;
    this.socketsOf.set(network, ofNetwork + 1);
    socket.once("close", () => this.leave(network));
    return true;
  }

  /** Those give way who have been shown out, then those who may be nobody: at whichever door more of them stand. */
  private makeRoom(): boolean {
    if (lingering.endOldest()) return true;
    const crowd = handshakes.size > this.strangers.size ? handshakes : this.strangers;
    return crowd.endOldest();
  }

  private leave(network: string): void {
    this.sockets -= 1;
    const left = (this.socketsOf.get(network) ?? 1) - 1;
    if (left > 0) this.socketsOf.set(network, left);
    else this.socketsOf.delete(network);
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
