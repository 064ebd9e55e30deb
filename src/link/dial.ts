import net, { type LookupFunction } from "node:net";
import { Attempt, type Dialled } from "./attempt.ts";
import { lookUp } from "./look-up.ts";
import { plainTransport } from "./plain.ts";
import type { Proxy } from "./proxy.ts";
import type { TlsClient } from "./tls-client.ts";
import type { Transport, TransportListener } from "./transport.ts";

/** Where a connection goes, and through what. */
export interface Destination {
  readonly host: string;
  readonly port: number;
  /** An address of this machine that the connection is made from; undefined: the system chooses. */
  readonly localAddress: string | undefined;
  /** Undefined: TCP without TLS. */
  readonly tls: (() => Promise<TlsClient>) | undefined;
  /** Undefined: no proxy. */
  readonly proxy: Proxy | undefined;
  /** What is asked for, and the largest packet that may come; undefined: MQTT without a WebSocket. */
  readonly webSocket: { readonly url: string; readonly maxPacketBytes: number } | undefined;
}

/** Dials; the transport is handed to the listener's link when all is up that the destination wants. */
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
async function connect({ host, port, localAddress, tls, proxy, webSocket }: Destination, attempt: Attempt): Promise<Dialled> {
  // With what they need, of no use to others; loaded before there is a connection, whose end nobody would hear meanwhile.
  const { openTunnel } = proxy ? await import("./proxy.ts") : {};
  const client = await tls?.();
  const { connectWebSocket } = webSocket ? await import("./websocket-client.ts") : {};
  const carrier = await connectTcp(proxy ?? { host, port }, localAddress, attempt);
  if (proxy && openTunnel) await openTunnel(carrier, { host, port }, proxy);
  const dialled = client ? await client.connect(carrier, host, attempt) : { socket: carrier, carrier, transport: (listener: TransportListener) => plainTransport(carrier, listener) };
  return webSocket && connectWebSocket ? connectWebSocket(dialled, webSocket.url, webSocket.maxPacketBytes) : dialled;
}

function connectTcp({ host, port }: { host: string; port: number }, localAddress: string | undefined, attempt: Attempt): Promise<net.Socket> {
  const ask: LookupFunction = (name, options, callback) => lookUp(name, options, callback, () => attempt.hasEnded);
  const from = localAddress === undefined ? {} : { localAddress, family: net.isIP(localAddress) };
  const socket = attempt.own(net.connect({ host, port, ...from, allowHalfOpen: true, lookup: ask }));
  return new Promise((resolve, reject) => {
    socket.on("error", reject); // stays: an error behind the connect must not go unheard
    socket.once("connect", () => resolve(socket));
  });
}
