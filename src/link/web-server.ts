import { createServer, STATUS_CODES, type IncomingMessage, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { linger } from "./lingering.ts";
import type { Accepted } from "./secure.ts";
import { Strangers } from "./strangers.ts";
import type { Transport, TransportListener } from "./transport.ts";
import { answerUpgrade, type UpgradeRefusal } from "./upgrade.ts";
import type { WebFolder } from "./web-folder.ts";
import { WebSocketTransport } from "./websocket.ts";

/** Time for a request, from the connection or the answer before it. */
const REQUEST_MS = 10_000;
/** Time for an answer to be taken. */
const ANSWER_MS = 300_000;
const MAX_REQUESTS_A_SOCKET = 100;
/** Connections being answered: each may hold a file open. The oldest gives way. */
const MAX_ANSWERED = 32;
export interface WebOptions {
  /** Longest head of a request. */
  readonly maxHeaderBytes: number;
  /** Origins that a WebSocket may be opened from; none: all. */
  readonly origins: readonly string[];
  /** What is served besides; undefined: nothing. */
  readonly folder: WebFolder | undefined;
}

/** Connections of all servers that are being answered. */
const answered = new Strangers(MAX_ANSWERED);

/** A connection that has not become a WebSocket. */
interface Open {
  readonly accepted: Accepted;
  readonly onClose: () => void;
  isAnswered: boolean;
  deadline: NodeJS.Timeout | undefined;
}

/** HTTP on connections that a port has accepted: becomes a WebSocket, or is answered from a folder. */
export class WebServer {
  private readonly http;
  private readonly open = new Map<Socket, Open>();

  constructor(
    /** May be exchanged while it runs. */
    public options: WebOptions,
    private readonly accept: (open: (listener: TransportListener) => Transport, user: string | undefined) => void,
    private readonly strangers: Strangers,
  ) {
    this.http = createServer({ maxHeaderSize: options.maxHeaderBytes, keepAliveTimeout: REQUEST_MS });
    this.http.maxRequestsPerSocket = MAX_REQUESTS_A_SOCKET;
    this.http.on("request", (request, response) => this.onRequest(request, response));
    this.http.on("upgrade", (request, socket, head) => this.onUpgrade(request, socket as Socket, head));
  }

  /** A connection whose first bytes are still to be read. */
  take(accepted: Accepted): void {
    this.wait(accepted);
    this.http.emit("connection", accepted.socket);
  }

  /** A connection that speaks HTTP or MQTT: its first byte tells. */
  takeEither(accepted: Accepted, takeMqtt: (accepted: Accepted) => void): void {
    this.wait(accepted);
    const { socket } = accepted;
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
        takeMqtt(accepted);
      }
      socket.resume();
    });
  }

  private wait(accepted: Accepted): void {
    const { socket } = accepted;
    const onClose = (): void => void this.leave(socket);
    this.open.set(socket, { accepted, onClose, isAnswered: false, deadline: undefined });
    socket.once("close", onClose);
    this.turn(socket, { isAnswered: false });
  }

  /** It is answered now, or may ask. */
  private turn(socket: Socket, { isAnswered }: { isAnswered: boolean }): void {
    const open = this.open.get(socket);
    if (!open) return;
    const end = (): void => void socket.destroy();
    const [from, to] = isAnswered ? [this.strangers, answered] : [answered, this.strangers];
    from.delete(socket);
    to.add(socket, end);
    open.isAnswered = isAnswered;
    clearTimeout(open.deadline);
    open.deadline = setTimeout(end, isAnswered ? ANSWER_MS : REQUEST_MS).unref();
  }

  /** It is no connection of HTTP any more. */
  private leave(socket: Socket): Accepted | undefined {
    const open = this.open.get(socket);
    if (!open) return undefined;
    this.open.delete(socket);
    this.strangers.delete(socket);
    answered.delete(socket);
    clearTimeout(open.deadline);
    socket.removeListener("close", open.onClose); // it would keep the socket for as long as its connection lasts
    return open.accepted;
  }

  private onRequest(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    // One request at a time: answers that wait for the one before them would all have to be kept.
    if (this.open.get(socket)?.isAnswered !== false) return void socket.destroy();
    this.turn(socket, { isAnswered: true });
    response.once("close", () => this.turn(socket, { isAnswered: false }));
    if (announcesBody(request)) return refuse(response, 413);
    const { folder } = this.options;
    if (folder) return folder.serve(request, response);
    response.setHeader("Upgrade", "websocket");
    refuse(response, 426);
  }

  private onUpgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const isAnswered = this.open.get(socket)?.isAnswered;
    const accepted = this.leave(socket);
    // An answer that is still being sent would go on among the frames.
    if (!accepted || isAnswered) return void socket.destroy();
    if (announcesBody(request)) return refuseUpgrade(socket, { status: 413, reason: "no body is taken" }); // it would be read as frames
    const answer = answerUpgrade(request);
    if ("status" in answer) return refuseUpgrade(socket, answer);
    if (!this.allowsOrigin(request.headers.origin)) return refuseUpgrade(socket, { status: 403, reason: "the origin is not allowed" });
    if (head.length > 0) socket.unshift(head);
    socket.write(answer.head);
    this.accept((listener) => {
      const webSocket = new WebSocketTransport(listener);
      webSocket.open(accepted.transport(webSocket));
      return webSocket;
    }, accepted.user);
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
    for (const socket of this.open.keys()) socket.destroy();
  }
}

/** All methods of HTTP begin with one; as MQTT it would be PUBACK or PUBREC. */
const isCapital = (byte: number): boolean => byte >= 0x41 && byte <= 0x5a;

function announcesBody({ headers }: IncomingMessage): boolean {
  return headers["transfer-encoding"] !== undefined || (headers["content-length"] ?? "0") !== "0";
}

function refuse(response: ServerResponse, status: number): void {
  response.writeHead(status, { Connection: "close", "Content-Length": 0 });
  response.end();
}

function refuseUpgrade(socket: Socket, { status, reason, headers = "" }: UpgradeRefusal): void {
  const lines = [`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}`, "Connection: close", "Content-Type: text/plain", `Content-Length: ${reason.length + 1}`];
  socket.on("error", () => undefined);
  socket.write(`${lines.join("\r\n")}\r\n${headers}\r\n${reason}\n`);
  linger(socket);
}
