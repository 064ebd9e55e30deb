import { Connection } from "./connection.mjs";

/** What all subscribers of a load have got; `latencies` in ms, if they are wanted. */
export class Receipts {
  delivered = 0;
  /** Messages that came a second time, came after a later one of their publisher, were not for us, or came with another QoS or with RETAIN. */
  wrong = 0;
  longestPauseMs = 0;
  latencies;
  #lastAt;

  constructor({ latencies = false } = {}) {
    if (latencies) this.latencies = [];
  }

  /** Pauses count from now on. */
  begin() {
    this.#lastAt = performance.now();
    this.longestPauseMs = 0;
  }

  noteRead() {
    const now = performance.now();
    if (now - this.#lastAt > this.longestPauseMs) this.longestPauseMs = now - this.#lastAt;
    this.#lastAt = now;
  }
}

/** Acknowledges what it gets, and checks that of each publisher it gets every message once and in order. */
export class Subscriber extends Connection {
  #receipts;
  #firstPublisher;
  #expected;
  #flags;

  /** It expects messages of the publishers from `firstPublisher` on, `publishers` of them, with this QoS and without RETAIN. */
  constructor(place, version, receipts, { firstPublisher, publishers, qos, onProgress }) {
    super(place, version);
    this.#receipts = receipts;
    this.#firstPublisher = firstPublisher;
    this.#expected = new Uint32Array(publishers);
    this.#flags = qos << 1;
    this.onProgress = onProgress;
  }

  onPacket(first, bytes, bodyAt) {
    if (first >> 4 !== 3) {
      if (first === 0x62) this.acknowledge(0x70, bytes[bodyAt], bytes[bodyAt + 1]);
      return;
    }
    const qos = (first >> 1) & 3;
    let at = bodyAt + 2 + ((bytes[bodyAt] << 8) | bytes[bodyAt + 1]);
    if (qos > 0) {
      this.acknowledge(qos === 1 ? 0x40 : 0x50, bytes[at], bytes[at + 1]);
      at += 2;
    }
    if (this.version === 5) at += 1 + bytes[at]; // no broker here adds 128 bytes of properties
    const publisher = uint32(bytes, at) - this.#firstPublisher;
    const seq = uint32(bytes, at + 4);
    const receipts = this.#receipts;
    if ((first & 7) !== this.#flags) receipts.wrong++;
    if (seq !== this.#expected[publisher]) {
      receipts.wrong++;
      if (!(seq > this.#expected[publisher])) return;
    }
    this.#expected[publisher] = seq + 1;
    receipts.delivered++;
    if (receipts.latencies !== undefined) receipts.latencies.push(performance.now() - new DataView(bytes.buffer, bytes.byteOffset + at + 8).getFloat64(0));
  }

  afterRead() {
    this.#receipts.noteRead();
    this.onProgress();
  }
}

const uint32 = (bytes, at) => ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0;
