import { isIP } from "node:net";
import type net from "node:net";
import tls from "node:tls";
import { contextOptions } from "../tls/context.ts";
import { readMaterial } from "../tls/material.ts";
import type { ClientTls } from "../tls/settings.ts";
import type { Attempt, Dialled } from "./attempt.ts";
import { TlsTransport } from "./tls.ts";

/** TLS on a TCP socket that is connected. Rejects with the reason. */
export function connectTls(carrier: net.Socket, host: string, settings: ClientTls, attempt: Attempt): Promise<Dialled> {
  const { alpn, insecure } = settings;
  const socket = attempt.own(
    tls.connect({
      ...contextOptions(settings, readMaterial(settings)),
      socket: carrier,
      host,
      ...(isIP(host) === 0 ? { servername: host } : {}),
      ...(alpn === undefined ? {} : { ALPNProtocols: [alpn] }),
      ...(insecure ? { checkServerIdentity: () => undefined } : {}),
    }),
  );
  return new Promise((resolve, reject) => {
    socket.on("error", reject); // stays: see connectTcp
    socket.once("close", () => reject(new Error("the connection was closed during the TLS handshake")));
    socket.once("secureConnect", () => resolve({ socket, transport: (listener) => new TlsTransport(socket, carrier, listener) }));
  });
}
