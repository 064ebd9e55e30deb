// The load of scripts/bench: raw sockets, packets built beforehand, written in batches. Prints one line of JSON.
import { once } from "node:events";
import { readFileSync } from "node:fs";
import net from "node:net";
import tls from "node:tls";

const { port, pid, ticksPerSecond, publishers, subscribers = 0, pairs = false, qos, window, messages, webSocket = false, secure = false } = JSON.parse(process.argv[2]);
const payload = Buffer.alloc(100, 0x61);
const subscriberCount = pairs ? publishers : subscribers;
const expected = pairs ? messages : messages * subscriberCount;
const perPublisher = messages / publishers;

const text = (value) => {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]);
};
const packet = (first, body) => {
  const header = [first];
  let length = body.length;
  do {
    header.push(length >= 128 ? (length & 127) | 128 : length);
    length >>= 7;
  } while (length > 0);
  return Buffer.concat([Buffer.from(header), body]);
};

const MASK = Buffer.from([0x5a, 0xa5, 0x3c, 0xc3]);
/** What a client sends: a packet, or a masked WebSocket frame with it. */
function framed(bytes) {
  if (!webSocket) return bytes;
  const header = bytes.length < 126 ? [0x82, 0x80 | bytes.length] : [0x82, 0xfe, bytes.length >> 8, bytes.length & 255];
  return Buffer.concat([Buffer.from(header), MASK, bytes.map((byte, i) => byte ^ MASK[i & 3])]);
}
const frameHeaderBytes = (bytes) => (webSocket ? (bytes.length < 126 ? 6 : 8) : 0);

/** The payloads of a server's frames, in place; a frame that is cut goes on in the next chunk. */
function unframer(onBytes) {
  if (!webSocket) return onBytes;
  let header = [];
  let left = 0;
  return (chunk) => {
    let at = 0;
    let to = 0;
    while (at < chunk.length) {
      if (left === 0) {
        header.push(chunk[at++]);
        const length = header[1] === undefined ? 10 : header[1] < 126 ? 2 : header[1] === 126 ? 4 : 10;
        if (header.length < length) continue;
        left = length === 2 ? header[1] : header.slice(2).reduce((sum, byte) => sum * 256 + byte, 0);
        header = [];
        continue;
      }
      const part = Math.min(left, chunk.length - at);
      chunk.copyWithin(to, at, at + part);
      to += part;
      at += part;
      left -= part;
    }
    if (to > 0) onBytes(chunk.subarray(0, to));
  };
}

/** Calls `onPacket(type, flags, bytes, bodyAt, end)` for each packet of a stream. */
function reader(onPacket, afterRead) {
  let rest;
  return (chunk) => {
    const bytes = rest === undefined ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    for (;;) {
      let length = 0;
      let shift = 0;
      let i = at + 1;
      while (i < bytes.length && bytes[i] >= 128) {
        length |= (bytes[i++] & 127) << shift;
        shift += 7;
      }
      if (i >= bytes.length) break;
      length |= bytes[i++] << shift;
      if (i + length > bytes.length) break;
      onPacket(bytes[at] >> 4, bytes[at] & 15, bytes, i, i + length);
      at = i + length;
    }
    rest = at < bytes.length ? bytes.subarray(at) : undefined;
    afterRead?.();
  };
}

async function open(clientId) {
  const at = { port, host: "127.0.0.1", noDelay: true };
  const socket = secure ? tls.connect({ ...at, rejectUnauthorized: false }) : net.connect(at);
  socket.on("error", fail);
  await once(socket, secure ? "secureConnect" : "connect");
  if (webSocket) {
    socket.write("GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n");
    const [answer] = await once(socket, "data");
    if (!answer.toString("latin1").startsWith("HTTP/1.1 101")) fail(new Error(String(answer)));
  }
  socket.write(framed(packet(0x10, Buffer.concat([text("MQTT"), Buffer.from([4, 2, 0, 0]), text(clientId)]))));
  const [connack] = await once(socket, "data");
  if (!connack.toString("hex").endsWith("20020000")) fail(new Error(`CONNACK ${connack.toString("hex")}`));
  return socket;
}

function fail(error) {
  console.error(String(error));
  process.exit(1);
}

function cpuSeconds() {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

let started = false;
let received = 0;
let finish;
const finished = new Promise((resolve) => (finish = resolve));
const publisherOf = [];

async function subscribe(index) {
  const socket = await open(`sub${index}`);
  let subscribed;
  const done = new Promise((resolve) => (subscribed = resolve));
  let answers = [];
  const onPacket = (type, flags, bytes, bodyAt) => {
    if (type === 9) return subscribed();
    if (type === 3) {
      received++;
      const level = (flags >> 1) & 3;
      if (level > 0) {
        const idAt = bodyAt + 2 + bytes.readUInt16BE(bodyAt);
        answers.push(level === 1 ? 0x40 : 0x50, 2, bytes[idAt], bytes[idAt + 1]);
      }
      if (qos === 0) publisherOf[pairs ? index : bytes.readUInt16BE(bodyAt + 2 + bytes.readUInt16BE(bodyAt))].delivered++;
      return;
    }
    if (type === 6) answers.push(0x70, 2, bytes[bodyAt], bytes[bodyAt + 1]);
  };
  socket.on("data", unframer(reader(onPacket, () => {
    if (answers.length > 0) {
      socket.write(framed(Buffer.from(answers)));
      answers = [];
    }
    if (qos === 0) for (const publisher of publisherOf) publisher.pump();
    if (received >= expected) finish();
  })));
  const filter = pairs ? `bench/${index}` : "bench/#";
  socket.write(framed(packet(0x82, Buffer.concat([Buffer.from([0, 1]), text(filter), Buffer.from([qos])]))));
  await done;
  return socket;
}

class Publisher {
  delivered = 0;
  #sent = 0;
  #open = 0;
  #freeIds = Array.from({ length: window }, (_, i) => window - i);
  #answers = [];

  constructor(socket, index) {
    this.socket = socket;
    const body = Buffer.from(payload);
    // A QoS 0 delivery tells its publisher by the first two bytes of the payload.
    body.writeUInt16BE(index, 0);
    const topic = text(`bench/${index}`);
    const plain = packet(0x30 | (qos << 1), Buffer.concat(qos === 0 ? [topic, body] : [topic, Buffer.from([0, 0]), body]));
    this.one = framed(plain);
    this.idInPacket = 2 + topic.length + (plain.length > 129 ? 1 : 0);
    this.idAt = this.idInPacket + frameHeaderBytes(plain);
    this.batch = Buffer.concat(Array.from({ length: window }, () => this.one));
    socket.on("data", unframer(reader((type, _flags, bytes, bodyAt) => {
      if (type === 5) this.#answers.push(0x62, 2, bytes[bodyAt], bytes[bodyAt + 1]);
      if (type === 4 || type === 7) {
        this.#open--;
        this.#freeIds.push(bytes.readUInt16BE(bodyAt));
      }
    }, () => this.pump())));
  }

  pump() {
    // Reading a SUBACK must not start the load before every subscription stands.
    if (!started) return;
    if (this.#answers.length > 0) {
      this.socket.write(framed(Buffer.from(this.#answers)));
      this.#answers = [];
    }
    const fanout = pairs ? 1 : subscriberCount;
    const open = qos === 0 ? this.#sent - Math.floor(this.delivered / fanout) : this.#open;
    const count = Math.min(window - open, perPublisher - this.#sent);
    // Packets travel in batches: small remainders wait for more room.
    if (count <= 0 || (count < window / 4 && this.#sent + count < perPublisher)) return;
    this.#sent += count;
    if (qos === 0) {
      this.socket.write(this.batch.subarray(0, count * this.one.length));
      return;
    }
    this.#open += count;
    const bytes = Buffer.from(this.batch.subarray(0, count * this.one.length));
    const mask = webSocket ? (MASK[this.idInPacket & 3] << 8) | MASK[(this.idInPacket + 1) & 3] : 0;
    for (let i = 0; i < count; i++) bytes.writeUInt16BE(this.#freeIds.pop() ^ mask, i * this.one.length + this.idAt);
    this.socket.write(bytes);
  }
}

const sockets = [];
for (let i = 0; i < publishers; i++) {
  const socket = await open(`pub${i}`);
  sockets.push(socket);
  publisherOf.push(new Publisher(socket, i));
}
for (let i = 0; i < subscriberCount; i++) sockets.push(await subscribe(i));
for (const socket of sockets) socket.on("close", () => fail(new Error(`the broker closed a connection after ${received} of ${expected} deliveries`)));

const cpuBefore = cpuSeconds();
started = true;
const startedAt = performance.now();
for (const publisher of publisherOf) publisher.pump();
let last = -1;
setInterval(() => {
  if (received === last) fail(new Error(`stuck at ${received} of ${expected} deliveries`));
  last = received;
}, 20_000);
await finished;
const seconds = (performance.now() - startedAt) / 1000;
const cpu = cpuSeconds() - cpuBefore;
process.stdout.write(`${JSON.stringify({ deliveries: received, seconds, deliveriesPerSecond: received / seconds, cpuMicrosPerDelivery: (cpu * 1e6) / received })}\n`, () => process.exit(0));
