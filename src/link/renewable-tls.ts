import type net from "node:net";
import { appearance } from "../tls/appearance.ts";
import type { TlsMaterial } from "../tls/material.ts";
import type { ServerTls } from "../tls/settings.ts";
import type { Accepted, Secure } from "./secure.ts";
import { TlsServer } from "./tls-server.ts";

/** How often is looked whether files have changed. What has changed must be the same for so long: certbot exchanges one file after the other. */
const LOOK_MS = 2_000;

/** Warnings of certificates that end soon are repeated. */
const WARN_MS = 86_400_000;

/** Settings, and what the files that they name hold when one looks. */
export interface TlsSource {
  readonly settings: ServerTls;
  /** @throws Error that says which file can't be used, and why */
  read(): TlsMaterial;
  /** What should be known of files that can be used. */
  warnings(): readonly string[];
}

export interface RenewalEvents {
  onRenewed(): void;
  onWarnings(warnings: readonly string[]): void;
  /** The old files' content stays in use. */
  onNotRenewed(problem: string): void;
  onHandshakeFailed(address: string, reason: string): void;
}

/** A listener's TLS over the life of its files: who is connected stays as he is, new handshakes use what the files hold now. */
export class RenewableTls implements Secure {
  private server: TlsServer;
  private timer: NodeJS.Timeout | undefined;
  /** What the files looked like when they were read; when they were looked at last; and when it was said that they can't be used. */
  private used: string;
  private seen: string;
  private refused: string | undefined;
  /** Sockets whose handshake is not over. */
  private readonly beginning = new Set<net.Socket>();
  /** The start has warned. */
  private warnedMs = performance.now();

  /** @throws if the files can't be used. */
  constructor(
    private source: TlsSource,
    private readonly events: RenewalEvents,
  ) {
    this.used = this.seen = appearance(source.settings);
    this.server = this.serverOf(source);
    this.timer = setInterval(() => this.look(), LOOK_MS).unref();
  }

  begin(socket: net.Socket, onReady: (accepted: Accepted) => void): void {
    this.beginning.add(socket);
    socket.once("close", () => this.beginning.delete(socket));
    this.server.begin(socket, (accepted) => {
      this.beginning.delete(socket);
      onReady(accepted);
    });
  }

  /** Reads the files anew; what is returned puts them in force. @throws if they can't be used; nothing is changed then. */
  change(source: TlsSource): () => void {
    const looks = appearance(source.settings);
    const server = this.serverOf(source);
    return () => {
      this.source = source;
      this.server = server;
      this.used = this.seen = looks;
      this.refused = undefined;
    };
  }

  /** The listener is closed: nobody waits for those whose handshake is not over. */
  close(): void {
    clearInterval(this.timer);
    for (const socket of this.beginning) socket.destroy();
  }

  private serverOf({ settings, read }: TlsSource): TlsServer {
    return new TlsServer(settings, read(), (address, reason) => this.events.onHandshakeFailed(address, reason));
  }

  private warnDaily(): void {
    if (performance.now() - this.warnedMs >= WARN_MS) this.warn();
  }

  private warn(): void {
    this.warnedMs = performance.now();
    this.events.onWarnings(this.source.warnings());
  }

  private look(): void {
    this.warnDaily();
    const now = appearance(this.source.settings);
    const hasSettled = now === this.seen;
    this.seen = now;
    if (!hasSettled || now === this.used) return;
    try {
      this.change(this.source)();
      this.events.onRenewed();
      this.warn();
    } catch (error) {
      if (this.refused !== now) this.events.onNotRenewed(error instanceof Error ? error.message : String(error));
      this.refused = now;
    }
  }
}
