import net, { type LookupFunction } from "node:net";
import type { TlsMaterial } from "../tls/material.ts";
import type { ClientTls } from "../tls/settings.ts";
import { Attempt, type Dialled } from "./attempt.ts";
import { lookUp } from "./look-up.ts";
import { TcpTransport } from "./tcp.ts";
import type { Transport, TransportListener } from "./transport.ts";

/** Where a connection goes, and through what. */
export interface Destination {
  readonly host: string;
  readonly port: number;
  /** Undefined: TCP without TLS. `read` throws if a file can't be used. */
  readonly secure: { readonly settings: ClientTls; read(): TlsMaterial } | undefined;
}

/** Dials; the transport is handed to the listener's link when TCP, and TLS where it is wanted, are up. */
export function dial(
  destination: Destination,
  onConnected: (open: (listener: TransportListener) => Transport) => void,
  onFailed: (error: Error) => void,
): { cancel(): void } {
  const attempt = new Attempt(onFailed);
  attempt.run(async () => {
    const { transport } = await connect(destination, attempt);
    attempt.succeed(() => onConnected(transport));
  });
  return { cancel: () => attempt.cancel() };
}

/** Rejects with the reason. */
export async function connect({ host, port, secure }: Destination, attempt: Attempt): Promise<Dialled> {
  const carrier = await connectTcp(host, port, attempt);
  if (!secure) return { socket: carrier, transport: (listener) => new TcpTransport(carrier, listener) };
  const { connectTls } = await import("./tls-client.ts");
  return connectTls(carrier, host, secure.settings, secure.read(), attempt);
}

function connectTcp(host: string, port: number, attempt: Attempt): Promise<net.Socket> {
  const ask: LookupFunction = (name, options, callback) => lookUp(name, options, callback, () => attempt.hasEnded);
  const socket = attempt.own(net.connect({ host, port, allowHalfOpen: true, lookup: ask }));
  return new Promise((resolve, reject) => {
    socket.on("error", reject); // stays: an error behind the connect must not go unheard
    socket.once("connect", () => resolve(socket));
  });
}
