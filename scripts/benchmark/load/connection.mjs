// A client's connection: bytes out as they are, whole packets in.
import { writeSync } from "node:fs";
import net from "node:net";
import tls from "node:tls";
import { connectPacket, disconnectPacket, subscribePacket } from "./packets.mjs";
import { framed, HANDSHAKE, unframer } from "./web-socket.mjs";

/** Plain sockets all read into one buffer; the cut packet of the read before is copied in front of it. */
const HEADROOM = 64 * 1024;
const READ_BUFFER = Buffer.allocUnsafeSlow(HEADROOM + 256 * 1024);
const READ_PART = READ_BUFFER.subarray(HEADROOM);
const NOTHING = Buffer.alloc(0);

/** `place`: where the broker is and how it is spoken to: `{ port, user, password, secure, webSocket }`. */
export class Connection {
  #place;
  #socket;
  #rest = NOTHING;
  #acks = Buffer.allocUnsafeSlow(4096);
  #ackBytes = 0;
  #answered = () => {};

  constructor(place, version) {
    this.#place = place;
    this.version = version;
  }

  /** Bytes that the system has not taken yet. */
  get unsent() {
    return this.#socket.writableLength;
  }

  /** Resolves with CONNACK's session present flag. */
  async open(clientId, { clean = true } = {}) {
    const { port, user, password, secure, webSocket } = this.#place;
    const at = { port, host: "127.0.0.1", noDelay: true };
    const plain = !secure && !webSocket;
    const onread = { buffer: READ_PART, callback: (length) => (this.#take(READ_BUFFER, HEADROOM, HEADROOM + length), true) };
    this.#socket = secure ? tls.connect({ ...at, rejectUnauthorized: false }) : net.connect(plain ? { ...at, onread } : at);
    this.onBroken ??= (reason) => {
      throw new Error(`${clientId}: ${reason}`);
    };
    this.#socket.on("error", (error) => this.onBroken(error.message));
    this.#socket.on("close", () => this.onBroken("closed by the broker"));
    await new Promise((resolve) => this.#socket.once(secure ? "secureConnect" : "connect", resolve));
    if (webSocket) await this.#upgrade();
    const onBytes = (bytes) => this.#take(bytes, 0, bytes.length);
    if (!plain) this.#socket.on("data", webSocket ? unframer(onBytes) : onBytes);
    this.send(connectPacket({ version: this.version, clientId, clean, user, password }));
    const connack = await this.#answer(2);
    if (connack[1] !== 0) throw new Error(`CONNACK ${connack.toString("hex")}`);
    return connack[0] === 1;
  }

  async #upgrade() {
    this.#socket.write(HANDSHAKE);
    const answer = await new Promise((resolve) => this.#socket.once("data", resolve));
    if (!answer.toString("latin1").startsWith("HTTP/1.1 101")) throw new Error(answer.toString("latin1"));
  }

  async subscribe(filters, qos) {
    this.send(subscribePacket({ version: this.version, filters, qos }));
    const suback = await this.#answer(9);
    if (suback.subarray(-filters.length).some((code) => code >= 0x80)) throw new Error(`SUBACK ${suback.toString("hex")}`);
  }

  /** Resolves with the body of the next packet of that type. */
  #answer(wanted) {
    return new Promise((resolve) => {
      this.#answered = (type, body) => type === wanted && resolve(Buffer.from(body));
    });
  }

  /** The broker sees a connection that ends without a word, or with DISCONNECT. */
  close({ silently = false } = {}) {
    this.onBroken = () => {};
    if (!silently) this.send(disconnectPacket);
    this.#socket.destroySoon();
    return new Promise((resolve) => this.#socket.once("close", resolve));
  }

  stopReading() {
    this.#socket.pause();
  }

  /** `bytes` may be used again afterwards. */
  send(bytes, length = bytes.length) {
    if (this.#place.webSocket) return void this.#socket.write(framed(bytes.subarray(0, length)));
    this.sendFramed(bytes, length);
  }

  /** What has its frames already, if frames there are. */
  sendFramed(bytes, length) {
    const fd = this.#place.secure || this.unsent > 0 ? -1 : (this.#socket._handle?.fd ?? -1);
    let written = 0;
    if (fd >= 0) {
      try {
        written = writeSync(fd, bytes, 0, length);
      } catch (error) {
        if (error.code !== "EAGAIN") return this.onBroken(error.message);
      }
    }
    if (written < length) this.#socket.write(Buffer.from(bytes.subarray(written, length)));
  }

  /** An answer of four bytes, sent with all others when what has been read is worked through. */
  acknowledge(first, idHigh, idLow) {
    if (this.#ackBytes === this.#acks.length) this.#acks = Buffer.concat([this.#acks, this.#acks]);
    const acks = this.#acks;
    let at = this.#ackBytes;
    acks[at++] = first;
    acks[at++] = 2;
    acks[at++] = idHigh;
    acks[at++] = idLow;
    this.#ackBytes = at;
  }

  #take(chunk, from, to) {
    let bytes = chunk;
    let at = from;
    let end = to;
    const rest = this.#rest;
    if (rest.length > 0) {
      if (chunk === READ_BUFFER && rest.length <= HEADROOM) {
        at -= rest.length;
        rest.copy(chunk, at);
      } else {
        bytes = Buffer.concat([rest, chunk.subarray(from, to)]);
        at = 0;
        end = bytes.length;
      }
    }
    while (end - at >= 2) {
      let length = 0;
      let shift = 0;
      let i = at + 1;
      while (i < end && bytes[i] >= 128) {
        length |= (bytes[i++] & 127) << shift;
        shift += 7;
      }
      if (i >= end) break;
      length |= bytes[i++] << shift;
      if (i + length > end) break;
      const first = bytes[at];
      if (first === 0x20 || first === 0x90) this.#answered(first >> 4, bytes.subarray(i, i + length));
      else this.onPacket(first, bytes, i, i + length);
      at = i + length;
    }
    this.#rest = at < end ? Buffer.from(bytes.subarray(at, end)) : NOTHING;
    if (this.#ackBytes > 0) {
      this.send(this.#acks, this.#ackBytes);
      this.#ackBytes = 0;
    }
    this.afterRead();
  }

  /** For those who are only there. */
  onPacket() {}
  afterRead() {}
}
