import type net from "node:net";
import tls from "node:tls";
import { contextOptions } from "../tls/context.ts";
import type { TlsMaterial } from "../tls/material.ts";
import type { ServerTls } from "../tls/settings.ts";
import type { Accepted, Secure } from "./secure.ts";
import { TlsTransport } from "./tls.ts";

/** Time from a socket's first moment to the end of its handshake. */
const HANDSHAKE_MS = 10_000;

interface Pending {
  readonly socket: net.Socket;
  readonly onReady: (accepted: Accepted) => void;
}

/** The server's side of TLS for one listener. It never listens itself: sockets are handed to it. */
export class TlsServer implements Secure {
  private readonly server: tls.Server;
  /** Sockets whose handshake is not over, by the address of their other end. */
  private readonly pending = new Map<string, Pending>();

  /** @throws if the material can't be used. */
  constructor(
    private readonly settings: ServerTls,
    material: TlsMaterial,
    private readonly onFailed: (address: string, reason: string) => void,
  ) {
    this.server = tls.createServer({
      ...contextOptions(settings, material),
      requestCert: settings.requireCertificate,
      rejectUnauthorized: settings.requireCertificate,
      handshakeTimeout: HANDSHAKE_MS,
    });
    this.server.on("secureConnection", (socket) => this.onSecure(socket));
    this.server.on("tlsClientError", (error, socket) => this.onClientError(error, socket));
  }

  /** New handshakes use the new material. @throws if it can't be used; nothing is changed then. */
  renew(material: TlsMaterial): void {
    const options = contextOptions(this.settings, material);
    tls.createSecureContext(options);
    this.server.setSecureContext(options);
  }

  begin(socket: net.Socket, onReady: (accepted: Accepted) => void): void {
    const key = keyOf(socket);
    this.pending.set(key, { socket, onReady });
    socket.on("error", () => undefined);
    socket.once("close", () => this.pending.delete(key));
    this.server.emit("connection", socket);
  }

  private onSecure(socket: tls.TLSSocket): void {
    const key = keyOf(socket);
    const pending = this.pending.get(key);
    this.pending.delete(key);
    if (!pending) return void socket.destroy();
    pending.onReady({ socket, user: undefined, transport: (listener) => new TlsTransport(socket, pending.socket, listener) });
  }

  private onClientError(error: Error, socket: tls.TLSSocket): void {
    this.onFailed(keyOf(socket), error.message);
    socket.destroy();
  }
}

const keyOf = ({ remoteAddress, remotePort }: net.Socket): string => `${remoteAddress ?? "?"}:${remotePort ?? 0}`;
