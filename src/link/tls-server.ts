import { constants } from "node:crypto";
import type net from "node:net";
import tls from "node:tls";
import { contextOptions } from "../tls/context.ts";
import type { TlsMaterial } from "../tls/material.ts";
import type { ServerTls } from "../tls/settings.ts";
import { handshakes } from "./handshakes.ts";
import type { Accepted, Secure } from "./secure.ts";
import { certificateUser } from "./tls-identity.ts";
import { watchOverhead } from "./tls-overhead.ts";
import { tlsReason } from "./tls-reason.ts";
import { addressOf } from "./tcp.ts";
import { TlsTransport } from "./tls.ts";

interface Pending {
  readonly socket: net.Socket;
  readonly onReady: (accepted: Accepted) => void;
}

/** The server's side of TLS with one set of files. It never listens itself: sockets are handed to it. */
export class TlsServer implements Secure {
  private readonly server: tls.Server;
  /** Sockets whose handshake is not over, by the address of their other end. */
  private readonly pending = new Map<string, Pending>();
  private readonly pskIdentities = new WeakMap<tls.TLSSocket, string>();

  /** @throws if the material can't be used. */
  constructor(
    private readonly settings: ServerTls,
    { psks, ...material }: TlsMaterial,
    private readonly onFailed: (address: string, reason: string) => void,
  ) {
    const { requireCertificate, usesPsk, pskHint = "" } = settings;
    this.server = tls.createServer({
      ...contextOptions(settings, { psks, ...material }),
      requestCert: requireCertificate,
      rejectUnauthorized: requireCertificate,
      ...(usesPsk
        ? {
            pskIdentityHint: pskHint,
            pskCallback: (socket: tls.TLSSocket, identity: string): Buffer | null => {
              this.pskIdentities.set(socket, identity);
              return psks.get(identity) ?? null; // null: a certificate may do instead
            },
          }
        : {}),
      // A session that is taken up again does not say whose key it began with.
      secureOptions: constants.SSL_OP_NO_RENEGOTIATION | (usesPsk ? constants.SSL_OP_NO_TICKET : 0),
    });
    this.server.on("secureConnection", (socket) => this.onSecure(socket));
    this.server.on("tlsClientError", (error, socket) => this.onClientError(error, socket));
  }

  begin(socket: net.Socket, onReady: (accepted: Accepted) => void): void {
    handshakes.add(socket, () => {
      const key = addressOf(socket);
      this.pending.set(key, { socket, onReady });
      socket.once("close", () => this.pending.delete(key));
      socket.allowHalfOpen = false; // who says no more will not finish the handshake
      this.server.emit("connection", socket);
    });
  }

  private onSecure(socket: tls.TLSSocket): void {
    const key = addressOf(socket);
    const pending = this.pending.get(key);
    this.pending.delete(key);
    if (!pending) return void socket.destroy(); // it has gone meanwhile
    handshakes.over(pending.socket);
    socket.allowHalfOpen = true;
    socket.on("error", () => socket.destroy()); // some errors of TLS leave it open
    watchOverhead(socket, pending.socket);
    const user = this.userOf(socket);
    if (this.settings.userFrom !== undefined && user === undefined) {
      this.onFailed(key, "its certificate has no name to be a user name");
      return void socket.destroy();
    }
    pending.onReady({ socket, user, transport: (listener) => new TlsTransport(socket, pending.socket, listener) });
  }

  private userOf(socket: tls.TLSSocket): string | undefined {
    const { userFrom, usesPsk } = this.settings;
    if (userFrom === undefined) return undefined;
    // An identity has been named before it was proved. In TLS 1.3 a shared key looks like a session that is taken up again, of which there are none here.
    const hasProvedKey = usesPsk && (socket.isSessionReused() || socket.getCipher().name.includes("PSK"));
    return hasProvedKey ? this.pskIdentities.get(socket) : certificateUser(socket, userFrom);
  }

  private onClientError(error: Error, socket: tls.TLSSocket): void {
    const { authorizationError } = socket as { authorizationError?: string | Error };
    this.onFailed(addressOf(socket), tlsReason(authorizationError ? asError(authorizationError) : error));
    socket.destroy();
  }
}

/** Node says `string` or `Error`, by its version. */
function asError(problem: string | Error): Error {
  return typeof problem === "string" ? Object.assign(new Error(problem), { code: problem }) : problem;
}
