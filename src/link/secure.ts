import type net from "node:net";
import type { Transport, TransportListener } from "./transport.ts";

/** A connection that is ready to be spoken on: a TCP socket, or a TLS socket with its handshake behind it. */
export interface Accepted {
  readonly socket: net.Socket;
  /** The user name that the other side has proved in the handshake; undefined where the listener takes none from there. */
  readonly user: string | undefined;
  /** The MQTT byte stream that is spoken on the socket itself. */
  transport(listener: TransportListener): Transport;
}

/** What stands between an accepted TCP socket and what is spoken on it. */
export interface Secure {
  /** Takes the socket over; calls `onReady` when it is ready to be spoken on, once or never. */
  begin(socket: net.Socket, onReady: (accepted: Accepted) => void): void;
}
