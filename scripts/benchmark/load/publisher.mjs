import { Connection } from "./connection.mjs";
import { publishTemplate } from "./packets.mjs";
import { framed } from "./web-socket.mjs";

const MAX_BATCH_BYTES = 64 * 1024;
const MAX_BATCHES_BYTES = 64 * 1024 * 1024;
const TOPIC_DIGITS = 7;

/** Publishes numbered messages of one size, several in one write. */
export class Publisher extends Connection {
  /** Messages published, and of QoS 1 and 2 those whose exchange is over. */
  sent = 0;
  acknowledged = 0;
  #left = 0;
  #nextId = 1;
  /** Of the message whose exchange is over next: they end in order [MQTT-4.6.0-2] [MQTT-4.6.0-3]. */
  #nextAcknowledged = 1;
  #load;
  #bytes;
  #view;
  #stride;
  #room;
  #places;

  /** `load`: `{ qos, window, batch, payloadBytes, retain, topics }`; `topics`: how many names it goes through in turn, if more than one. */
  constructor(place, version, load, { index, topic, publishers, onProgress }) {
    super(place, version);
    this.#load = load;
    this.onProgress = onProgress;
    const template = publishTemplate({ ...load, version, topic: load.topics > 1 ? `${topic}/${"0".repeat(TOPIC_DIGITS)}` : topic });
    const one = place.webSocket ? framed(template.bytes) : template.bytes;
    const shift = one.length - template.bytes.length;
    this.#places = { id: template.idAt + shift, stamp: template.stampAt + shift, digits: template.idAt + shift - TOPIC_DIGITS };
    this.#stride = one.length;
    this.#room = Math.max(1, Math.min(load.batch, Math.floor(Math.min(MAX_BATCH_BYTES, MAX_BATCHES_BYTES / publishers) / one.length)));
    this.#bytes = Buffer.concat(Array.from({ length: this.#room }, () => one));
    this.#view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.length);
    for (let i = 0; i < this.#room; i++) this.#view.setUint32(i * this.#stride + this.#places.stamp, index);
  }

  /** Lets it publish so many more. */
  grant(messages) {
    this.#left += messages;
  }

  stop() {
    this.#left = 0;
  }

  /** Everything granted is sent and, of QoS 1 and 2, acknowledged. */
  get isDone() {
    return this.#left === 0 && (this.#load.qos === 0 || this.acknowledged === this.sent);
  }

  /** Publishes what the window allows, at most `allowed`, in one write; says how many. `dueAt` goes into the stamp. */
  pump(allowed, dueAt) {
    const { qos, window, topics } = this.#load;
    let count = Math.min(this.#room, this.#left, allowed);
    if (qos > 0) count = Math.min(count, window - (this.sent - this.acknowledged));
    if (count <= 0) return 0;
    const view = this.#view;
    for (let i = 0, at = 0; i < count; i++, at += this.#stride) {
      const seq = this.sent + i;
      if (qos > 0) {
        view.setUint16(at + this.#places.id, this.#nextId);
        this.#nextId = idAfter(this.#nextId);
      }
      view.setUint32(at + this.#places.stamp + 4, seq);
      view.setFloat64(at + this.#places.stamp + 8, dueAt);
      if (topics > 1) this.#writeDigits(at + this.#places.digits, seq % topics);
    }
    this.#left -= count;
    this.sent += count;
    this.sendFramed(this.#bytes, count * this.#stride);
    return count;
  }

  #writeDigits(at, value) {
    let rest = value;
    for (let i = at + TOPIC_DIGITS - 1; i >= at; i--) {
      this.#bytes[i] = 0x30 + (rest % 10);
      rest = Math.floor(rest / 10);
    }
  }

  onPacket(first, bytes, at) {
    if (first === 0x50) return this.acknowledge(0x62, bytes[at], bytes[at + 1]);
    if (first !== 0x40 && first !== 0x70) return;
    const id = (bytes[at] << 8) | bytes[at + 1];
    if (id !== this.#nextAcknowledged) throw new Error(`message ${id} acknowledged in the place of ${this.#nextAcknowledged}`);
    this.#nextAcknowledged = idAfter(id);
    this.acknowledged++;
  }

  afterRead() {
    this.onProgress();
  }
}

const idAfter = (id) => (id === 65_535 ? 1 : id + 1);
