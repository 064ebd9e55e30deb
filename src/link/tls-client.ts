import { isIP } from "node:net";
import type net from "node:net";
import tls from "node:tls";
import { contextOptions } from "../tls/context.ts";
import type { TlsMaterial } from "../tls/material.ts";
import type { ClientTls } from "../tls/settings.ts";
import type { Attempt, Dialled } from "./attempt.ts";
import { TlsFailure, tlsReason } from "./tls-reason.ts";
import { TlsTransport } from "./tls.ts";

/** TLS on a TCP socket that is connected. Rejects with TlsFailure, which says why. */
export function connectTls(carrier: net.Socket, host: string, settings: ClientTls, material: TlsMaterial, attempt: Attempt): Promise<Dialled> {
  const socket = attempt.own(tls.connect({ ...contextOptions(settings, material), ...peerOptions(host, settings), socket: carrier }));
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void => reject(new TlsFailure(tlsReason(error)));
    socket.on("error", (error) => {
      fail(error);
      socket.destroy(); // some errors of TLS leave it open, also behind the handshake
    });
    socket.once("close", () => fail(new Error("the connection was closed during the TLS handshake")));
    socket.once("secureConnect", () => resolve({ socket, transport: (listener) => new TlsTransport(socket, carrier, listener) }));
  });
}

/** Whom we want to find there, and how we say who we are. */
function peerOptions(host: string, { alpn, insecure, psk }: ClientTls): tls.ConnectionOptions {
  return {
    host,
    ...(isIP(host) === 0 ? { servername: host } : {}), // a server name is never an address [RFC 6066, 3]
    ...(alpn === undefined ? {} : { ALPNProtocols: [alpn] }),
    ...(psk === undefined ? {} : { pskCallback: () => ({ psk: Buffer.from(psk.key, "hex"), identity: psk.identity }) }),
    // A shared key proves the other side without a certificate.
    ...(insecure || psk !== undefined ? { checkServerIdentity: () => undefined } : {}),
  };
}
