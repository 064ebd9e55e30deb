import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { WebSocketServer } from "ws";
import type { Transport, TransportListener } from "./transport.ts";
import type { WebFolder } from "./web-folder.ts";
import { LINGER_MS } from "./tcp.ts";
import { WebSocketTransport } from "./websocket.ts";

/** Names under which MQTT is spoken over a WebSocket [MQTT-6.0.0-3]; the second is what clients of MQTT 3.1 offer. */
const SUBPROTOCOLS = ["mqtt", "mqttv3.1"];
/** Time for a request, from the connection or the answer before it. */
const REQUEST_MS = 10_000;
/** Time for an answer to be taken. */
const ANSWER_MS = 300_000;
const MAX_REQUESTS_A_SOCKET = 100;
/** Connections that have not asked yet; and those being answered, each of which may hold a file open. The oldest gives way. */
const MAX_WAITING = 1_000;
const MAX_ANSWERED = 32;
/** A WebSocket message holds one packet, or what was written in one go. */
const MIN_MESSAGE_BYTES = 256 * 1024;
/** Parts of a message cost more than their bytes. */
const FRAGMENT_BYTES = 16 * 1024;
const CHUNK_BYTES = 256;
const MIN_PARTS = 1_024;

export interface WebOptions {
  /** Longest head of a request. */
  readonly maxHeaderBytes: number;
  /** Origins that a WebSocket may be opened from; none: all. */
  readonly origins: readonly string[];
  /** What is served besides; undefined: nothing. */
  readonly folder: WebFolder | undefined;
}

/** Connections that speak HTTP, by all servers together: each with its deadline, oldest first. */
class Deadlines {
  private readonly timers = new Map<Socket, NodeJS.Timeout>();

  constructor(
    private readonly max: number,
    private readonly limitMs: number,
  ) {}

  add(socket: Socket): void {
    const [oldest] = this.timers.size >= this.max ? this.timers.keys() : [];
    if (oldest) {
      this.delete(oldest);
      oldest.destroy();
    }
    this.timers.set(socket, setTimeout(() => socket.destroy(), this.limitMs).unref());
  }

  has(socket: Socket): boolean {
    return this.timers.has(socket);
  }

  delete(socket: Socket): void {
    clearTimeout(this.timers.get(socket));
    this.timers.delete(socket);
  }
}

const waiting = new Deadlines(MAX_WAITING, REQUEST_MS);
const answered = new Deadlines(MAX_ANSWERED, ANSWER_MS);

/** HTTP on connections that a port has accepted: becomes a WebSocket, or is answered from a folder. */
export class WebServer {
  private readonly http;
  private readonly webSockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false, // a small message may inflate to any size
    skipUTF8Validation: true, // a text frame ends the connection unread
    handleProtocols: (offered) => [...offered].find((name) => SUBPROTOCOLS.includes(name)) ?? false,
  });
  private readonly sockets = new Set<Socket>();

  constructor(
    /** May be exchanged while it runs. */
    public options: WebOptions,
    private readonly accept: (open: (listener: TransportListener) => Transport) => void,
    private readonly limits: { readonly maxPacketSizeBytes: number },
  ) {
    this.http = createServer({ maxHeaderSize: options.maxHeaderBytes, keepAliveTimeout: REQUEST_MS });
    this.http.maxRequestsPerSocket = MAX_REQUESTS_A_SOCKET;
    this.http.on("request", (request, response) => this.onRequest(request, response));
    this.http.on("upgrade", (request, socket, head) => this.onUpgrade(request, socket as Socket, head));
  }

  /** A connection whose first bytes are still to be read. */
  take(socket: Socket): void {
    this.wait(socket);
    this.http.emit("connection", socket);
  }

  /** A connection that speaks HTTP or MQTT: its first byte tells. */
  takeEither(socket: Socket, takeMqtt: (socket: Socket) => void): void {
    this.wait(socket);
    const end = (): void => void socket.destroy();
    socket.once("error", end).once("end", end);
    socket.once("data", (bytes: Buffer) => {
      socket.removeListener("error", end).removeListener("end", end);
      socket.pause();
      socket.unshift(bytes);
      if (isCapital(bytes[0] ?? 0)) {
        this.http.emit("connection", socket);
      } else {
        this.leave(socket);
        takeMqtt(socket);
      }
      socket.resume();
    });
  }

  private wait(socket: Socket): void {
    this.sockets.add(socket);
    waiting.add(socket);
    socket.once("close", () => this.leave(socket));
  }

  /** It is no connection of HTTP any more. */
  private leave(socket: Socket): void {
    this.sockets.delete(socket);
    waiting.delete(socket);
    answered.delete(socket);
  }

  private onRequest(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    // One request at a time: answers to those that come before the last one is answered would all have to be kept.
    if (answered.has(socket)) return void socket.destroy();
    waiting.delete(socket);
    answered.add(socket);
    response.once("close", () => {
      answered.delete(socket);
      if (!socket.destroyed) waiting.add(socket);
    });
    const { "content-length": bodyBytes = "0", "transfer-encoding": encoding } = request.headers;
    if (bodyBytes !== "0" || encoding !== undefined) return refuse(response, 413);
    const { folder } = this.options;
    if (folder) return folder.serve(request, response);
    response.setHeader("Upgrade", "websocket");
    refuse(response, 426);
  }

  private onUpgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    this.leave(socket);
    const { webSockets } = this;
    socket.on("error", () => undefined);
    const offered = (request.headers["sec-websocket-protocol"] ?? "").split(",").map((name) => name.trim());
    if (!SUBPROTOCOLS.some((name) => offered.includes(name))) return refuseUpgrade(socket, "400 Bad Request", "the subprotocol is not mqtt");
    if (!this.allowsOrigin(request.headers.origin)) return refuseUpgrade(socket, "403 Forbidden", "the origin is not allowed");
    const maxPayload = Math.max(this.limits.maxPacketSizeBytes, MIN_MESSAGE_BYTES);
    Object.assign(webSockets.options, {
      maxPayload,
      maxFragments: MIN_PARTS + Math.ceil(maxPayload / FRAGMENT_BYTES),
      maxBufferedChunks: MIN_PARTS + Math.ceil(maxPayload / CHUNK_BYTES),
    });
    webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      this.accept((listener) => new WebSocketTransport(webSocket, socket, listener));
    });
  }

  /** As mosquitto does: when origins are given, who names none has no access. */
  private allowsOrigin(origin: string | undefined): boolean {
    const { origins } = this.options;
    if (origins.length === 0) return true;
    const given = origin?.toLowerCase();
    return given !== undefined && origins.some((allowed) => allowed.toLowerCase() === given || given.endsWith(`://${allowed.toLowerCase()}`));
  }

  /** Ends what is not a WebSocket. */
  close(): void {
    for (const socket of this.sockets) socket.destroy();
  }
}

/** All methods of HTTP begin with one; as MQTT it would be PUBACK or PUBREC. */
const isCapital = (byte: number): boolean => byte >= 0x41 && byte <= 0x5a;

function refuse(response: ServerResponse, status: number): void {
  response.writeHead(status, { Connection: "close", "Content-Length": 0 });
  response.end();
}

function refuseUpgrade(socket: Socket, status: string, reason: string): void {
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: ${reason.length + 1}\r\n\r\n${reason}\n`);
  const timer = setTimeout(() => socket.destroy(), LINGER_MS);
  socket.once("close", () => clearTimeout(timer));
  socket.resume();
}
