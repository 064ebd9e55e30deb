import net from "node:net";
import { FrameSplitter, frameBody } from "../scenario/clients.ts";
import {
  ackPacket, connectPacket, PUBACK, PUBCOMP, publishPacket, PUBREC, PUBREL, readId, readPublish, readReason, subscribePacket, unsubscribePacket,
  type Publish, type QoS, type Version,
} from "../scenario/packets.ts";
import { DeliveryWatch } from "./delivery-watch.ts";

const MAX_RECONNECT_MS = 100;
const DUP = 8;
/** Reason codes of MQTT 5. */
const FIRST_ERROR = 0x80;
const TAKEN_OVER = 0x8e;
const DISCONNECT = 14;

/** A message on its way to the server. */
export interface Outgoing {
  readonly payload: string;
  readonly packet: Buffer;
  readonly qos: 1 | 2;
  /** How often PUBLISH was written. */
  sendings: number;
  /** PUBACK or PUBREC has come. */
  isAcknowledged: boolean;
}

/** SUBSCRIBE or UNSUBSCRIBE without its answer. */
interface Request {
  readonly packet: Buffer;
  readonly answered: (frame: Buffer) => void;
}

/**
 * A client whose session outlives its connections, as the standard wants it: what is unacknowledged is sent again in order, and the
 * identifiers of incoming QoS 2 messages are kept until PUBREL. It dials again until it is stopped, and writes down where the server
 * breaks its word. What it is given or told is never lost by itself: this process is not killed.
 */
export class SessionClient {
  readonly violations: string[] = [];
  readonly watch: DeliveryWatch;
  readonly #outgoing = new Map<number, Outgoing>();
  readonly #requests = new Map<number, Request>();
  /** Identifiers of this connection's PUBLISH packets that wait for PUBACK or PUBREC, by QoS. */
  #awaited: Record<1 | 2, number[]> = { 1: [], 2: [] };
  #hadSession = false;
  #socket: net.Socket | undefined;
  #isOnline = false;
  #isStopped = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    readonly clientId: string,
    readonly port: number,
    readonly version: Version,
    private readonly random: () => number,
    /** Told of the type of each packet that comes, before it is answered. */
    private readonly onStep: (packetType: number) => void = () => undefined,
  ) {
    this.watch = new DeliveryWatch(clientId);
  }

  start(): void {
    if (this.#isStopped) return;
    // Another source address: a socket that dials a free port of its own machine may else be connected to itself.
    const socket = net.connect({ host: "127.0.0.1", port: this.port, ...(process.platform === "linux" ? { localAddress: "127.0.0.2" } : {}) });
    const splitter = new FrameSplitter();
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on("connect", () => socket.write(connectPacket(this.clientId, { clean: false, version: this.version })));
    socket.on("data", (bytes) => {
      for (const frame of splitter.push(bytes)) if (this.#socket === socket) this.#onPacket(frame);
    });
    // A refused or reset connection is followed by `close`.
    socket.on("error", () => undefined);
    socket.on("end", () => socket.destroy());
    socket.on("close", () => {
      if (this.#isOnline) this.watch.end();
      this.#isOnline = false;
      this.#socket = undefined;
      if (!this.#isStopped) this.#timer = setTimeout(() => this.start(), this.random() * MAX_RECONNECT_MS);
    });
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    this.#socket?.destroy();
  }

  /** Breaks the connection; the client dials again. */
  drop(): void {
    this.#socket?.destroy();
  }

  get isOnline(): boolean {
    return this.#isOnline;
  }

  /** Messages whose exchange is not over. */
  get unfinished(): number {
    return this.#outgoing.size;
  }

  publish(topic: string, payload: string, qos: 1 | 2, options: { retain?: boolean } = {}): Outgoing {
    const id = this.#freeId();
    const message: Outgoing = { payload, packet: publishPacket(topic, payload, { qos, id, version: this.version, ...options }), qos, sendings: 0, isAcknowledged: false };
    this.#outgoing.set(id, message);
    if (this.#isOnline) this.#send(id, message);
    return message;
  }

  /** Resolves with SUBACK, over as many connections as it takes. */
  async subscribe(filter: string, qos: QoS): Promise<void> {
    const id = this.#freeId();
    const suback = await this.#request(id, subscribePacket(id, filter, qos, this.version));
    if (suback.at(-1) !== qos) this.violations.push(`${this.clientId}: SUBACK ${suback.toString("hex")} for ${filter}`);
  }

  /** Resolves with UNSUBACK. */
  async unsubscribe(filter: string): Promise<void> {
    const id = this.#freeId();
    await this.#request(id, unsubscribePacket(id, filter, this.version));
  }

  #request(id: number, packet: Buffer): Promise<Buffer> {
    if (this.#isOnline) this.#socket?.write(packet);
    return new Promise((answered) => this.#requests.set(id, { packet, answered }));
  }

  /** The lowest that is free: identifiers are used again as soon as the standard allows it. */
  #freeId(): number {
    let id = 1;
    while (this.#outgoing.has(id) || this.#requests.has(id)) id += 1;
    return id;
  }

  #send(id: number, message: Outgoing): void {
    this.#awaited[message.qos].push(id);
    this.#socket?.write(message.packet);
    message.sendings += 1;
    message.packet[0] = (message.packet[0] ?? 0) | DUP; // every later sending is a repetition [MQTT-3.3.1-1]
  }

  #onPacket(frame: Buffer): void {
    const type = (frame[0] ?? 0) >> 4;
    this.onStep(type);
    switch (type) {
      case 2:
        return this.#onConnack(frameBody(frame));
      case 3:
        return this.#onPublish(readPublish(frame, this.version));
      case 4:
      case 5:
        if (readReason(frame) >= FIRST_ERROR) this.violations.push(`${this.clientId}: a message was refused with 0x${readReason(frame).toString(16)}`);
        return this.#onAcknowledged(type === 4 ? 1 : 2, readId(frame));
      case 6:
        this.watch.release(readId(frame));
        this.#socket?.write(ackPacket(PUBCOMP, readId(frame)));
        return;
      case 7:
        if (this.#outgoing.get(readId(frame))?.isAcknowledged) this.#outgoing.delete(readId(frame));
        else this.violations.push(`${this.clientId}: PUBCOMP ${readId(frame)} without PUBREL`);
        return;
      case 9:
      case 11:
        this.#requests.get(readId(frame))?.answered(frame);
        this.#requests.delete(readId(frame));
        return;
      default:
        if (this.version === 5 && type === DISCONNECT && frameBody(frame)[0] === TAKEN_OVER) return;
        this.violations.push(`${this.clientId}: a client does not expect ${frame.toString("hex", 0, 40)}`);
    }
  }

  #onConnack(body: Buffer): void {
    if (body[1] !== 0) this.violations.push(`${this.clientId}: CONNACK with return code ${body[1]}`);
    const hasSession = this.version === 3 ? this.#hadSession : body[0] === 1; // CONNACK of 3.1 does not tell
    if (this.#hadSession && !hasSession) this.violations.push(`${this.clientId}: the session is gone`);
    this.#hadSession = true;
    this.#isOnline = true;
    this.watch.begin(hasSession);
    this.#awaited = { 1: [], 2: [] };
    for (const { packet } of this.#requests.values()) this.#socket?.write(packet);
    for (const [id, message] of this.#outgoing) {
      if (message.isAcknowledged) this.#socket?.write(ackPacket(PUBREL, id));
      else this.#send(id, message);
    }
  }

  #onPublish(publish: Publish): void {
    const { id, qos } = publish;
    this.watch.publish(publish);
    if (qos === 1) {
      this.#socket?.write(ackPacket(PUBACK, id));
      this.watch.acknowledge(id);
    } else if (qos === 2) {
      this.#socket?.write(ackPacket(PUBREC, id));
      this.watch.receive(id);
    }
  }

  /** PUBACK or PUBREC: they come in the order of the packets [MQTT-4.6.0-2] [MQTT-4.6.0-3]. */
  #onAcknowledged(qos: 1 | 2, id: number): void {
    const expected = this.#awaited[qos].shift();
    const message = this.#outgoing.get(id);
    if (expected !== id || !message) {
      this.violations.push(`${this.clientId}: acknowledgement of ${id} at QoS ${qos}, but ${expected ?? "none"} is next`);
      return;
    }
    message.isAcknowledged = true;
    if (qos === 1) this.#outgoing.delete(id);
    else this.#socket?.write(ackPacket(PUBREL, id));
  }
}
