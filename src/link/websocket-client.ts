import type net from "node:net";
import WebSocket from "ws";
import { Reason } from "../mqtt/reason.ts";
import { ProtocolViolation } from "../mqtt/violation.ts";
import type { Dialled } from "./attempt.ts";
import { LINGER_MS } from "./lingering.ts";
import { addressOf, PROBE_AFTER_MS, takenBytes } from "./tcp.ts";
import { explained } from "./tls-reason.ts";
import type { Transport, TransportListener } from "./transport.ts";

const NORMAL = 1000;
/** A message holds one packet, or several that were written in one go. */
const MIN_MESSAGE_BYTES = 1024 * 1024;
/** Parts of a message cost more than their bytes. */
const FRAGMENT_BYTES = 16 * 1024;
const CHUNK_BYTES = 256;
const MIN_PARTS = 1_024;

/** A WebSocket on a connection that is up [MQTT-6.0.0-3]. `url`: as it is asked for. Rejects with the reason. */
export function connectWebSocket({ socket, carrier }: Dialled, url: string, maxPacketBytes: number): Promise<Dialled> {
  const maxPayload = Math.max(maxPacketBytes, MIN_MESSAGE_BYTES);
  const webSocket = new WebSocket(url, ["mqtt"], {
    createConnection: () => socket,
    perMessageDeflate: false, // a small message may inflate to any size
    skipUTF8Validation: true, // a text message ends the connection unread
    maxPayload,
    maxFragments: MIN_PARTS + Math.ceil(maxPayload / FRAGMENT_BYTES),
    maxBufferedChunks: MIN_PARTS + Math.ceil(maxPayload / CHUNK_BYTES),
  });
  return new Promise((resolve, reject) => {
    webSocket.on("error", (error) => reject(explained(error))); // stays: see connectTcp
    webSocket.once("open", () => {
      webSocket.pause(); // what the remote says at once is to be heard
      resolve({ socket, carrier, transport: (listener) => new WebSocketClientTransport(webSocket, socket, carrier, listener) });
    });
  });
}

/** The client's side of a WebSocket as a transport: its messages are pieces of one byte stream, wherever packets begin in them [MQTT-6.0.0-2]. */
class WebSocketClientTransport implements Transport {
  readonly remoteAddress: string;

  constructor(
    private readonly webSocket: WebSocket,
    private readonly socket: net.Socket,
    private readonly carrier: net.Socket,
    listener: TransportListener,
  ) {
    this.remoteAddress = addressOf(socket);
    let failure: Error | undefined;
    socket.setKeepAlive(true, PROBE_AFTER_MS);
    socket.on("drain", () => listener.onDrain());
    webSocket.on("message", (bytes: Buffer, isBinary: boolean) => {
      if (isBinary) return listener.onBytes(bytes);
      failure ??= new ProtocolViolation(Reason.ProtocolError, "a WebSocket message of text [MQTT-6.0.0-1]");
      webSocket.terminate();
    });
    webSocket.on("error", (error) => {
      failure ??= explained(error);
    });
    webSocket.on("close", () => listener.onClose(failure));
    webSocket.resume();
  }

  get unsentBytes(): number {
    return this.webSocket.bufferedAmount;
  }

  get progressMark(): number {
    return takenBytes(this.carrier);
  }

  /** The library copies what it masks; the callback says how far it is. */
  write(bytes: Buffer, done: () => void): void {
    if (this.webSocket.readyState !== WebSocket.OPEN) return done();
    this.webSocket.send(bytes, () => done());
  }

  pause(): void {
    this.webSocket.pause();
  }

  resume(): void {
    this.webSocket.resume();
  }

  /** The other side may never answer our close frame. */
  end(): void {
    this.webSocket.resume();
    this.webSocket.close(NORMAL);
    const timer = setTimeout(() => this.webSocket.terminate(), LINGER_MS).unref();
    this.socket.once("close", () => clearTimeout(timer));
  }

  destroy(): void {
    this.webSocket.terminate();
  }
}
