import { isIP } from "node:net";
import type net from "node:net";
import tls from "node:tls";
import { appearance } from "../tls/appearance.ts";
import { contextOptions } from "../tls/context.ts";
import type { TlsMaterial } from "../tls/material.ts";
import type { ClientTls } from "../tls/settings.ts";
import { systemAuthorities } from "../tls/system-authorities.ts";
import type { Attempt, Dialled } from "./attempt.ts";
import { watchOverhead } from "./tls-overhead.ts";
import { TlsFailure, tlsReason } from "./tls-reason.ts";
import { TlsTransport } from "./tls.ts";

/** The client's side of TLS for one connection: each dialling uses what its files hold then. */
export class TlsClient {
  private context: tls.SecureContext | undefined;
  private looks = "";

  constructor(
    private readonly settings: ClientTls,
    /** @throws Error that says which file can't be used, and why */
    private readonly read: () => TlsMaterial,
    /** The files have changed and can't be used: what they held before stays in use. */
    private readonly onNotRenewed: (problem: string) => void,
  ) {}

  /** TLS on a TCP socket that is connected. Rejects with the reason. */
  connect(carrier: net.Socket, host: string, attempt: Attempt): Promise<Dialled> {
    const socket = attempt.own(tls.connect({ ...peerOptions(host, this.settings), secureContext: this.currentContext(), socket: carrier }));
    return new Promise((resolve, reject) => {
      const fail = (error: Error): void => reject(new TlsFailure(tlsReason(error)));
      socket.on("error", (error) => {
        fail(error);
        socket.destroy(); // some errors of TLS leave it open, also behind the handshake
      });
      socket.once("close", () => fail(new Error("the connection was closed during the TLS handshake")));
      socket.once("secureConnect", () => {
        watchOverhead(socket, carrier);
        resolve({ socket, carrier, transport: (listener) => new TlsTransport(socket, carrier, listener) });
      });
    });
  }

  /** Made once for as long as the files stay the same: a hundred CA certificates take a while. */
  private currentContext(): tls.SecureContext {
    const looks = appearance(this.settings);
    if (this.context && looks === this.looks) return this.context;
    try {
      const material = this.read();
      const ca = material.ca ?? systemAuthorities();
      this.context = tls.createSecureContext(contextOptions(this.settings, { ...material, ca }));
      this.looks = looks;
      return this.context;
    } catch (error) {
      if (!this.context) throw error;
      this.onNotRenewed(error instanceof Error ? error.message : String(error));
      return this.context;
    }
  }
}

/** Whom we want to find there, and how we say who we are. */
function peerOptions(host: string, { alpn, insecure, psk, minVersion }: ClientTls): tls.ConnectionOptions {
  return {
    host,
    minVersion,
    ...(isIP(host) === 0 ? { servername: host } : {}), // a server name is never an address [RFC 6066, 3]
    ...(alpn === undefined ? {} : { ALPNProtocols: [alpn] }),
    ...(psk === undefined ? {} : { pskCallback: () => ({ psk: Buffer.from(psk.key, "hex"), identity: psk.identity }) }),
    // A shared key proves the other side without a certificate.
    ...(insecure || psk !== undefined ? { checkServerIdentity: () => undefined } : {}),
  };
}
