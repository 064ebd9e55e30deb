import { once } from "node:events";
import { readFileSync } from "node:fs";
import net from "node:net";
import { afterAll, beforeAll, describe } from "vitest";
import { connect311, mqttString, type TestClient } from "../scenario/clients.ts";
import { DaemonProcess, freePorts } from "../scenario/daemon.ts";
import { connectPacket, makePacket, publishPacket, subscribePacket } from "../scenario/packets.ts";
import { frame, RawConnection, upgradeRequest } from "../scenario/web-clients.ts";
import { bytesOf } from "../vectors/notation.ts";
import { packets } from "../vectors/packets.ts";
import { packets5 } from "../vectors/packets5.ts";
import { below, fuzz, pick, type Rng } from "./budget.ts";
import { mutateBytes, mutateText, pieces } from "./mutation.ts";

const CONNECTIONS_A_ROUND = 20;
const BRIDGES = 40;
/** Far beyond what the rounds may leave: a leak, or a bound that does not hold. */
const MAX_GROWTH_KIB = 150_000;
const MAX_PUBLISH_MS = 5_000;

const corpus: readonly Buffer[] = [
  ...[...packets, ...packets5].map(({ bytes }) => bytesOf(bytes)),
  ...[0, 1, 2].flatMap((qos) => [publishPacket("fuzz/a", "x", { qos: qos as 0, id: 1, retain: true }), publishPacket("fuzz/b", "y".repeat(3_000), { qos: qos as 1, id: 2 })]),
  subscribePacket(1, "fuzz/#", 2), subscribePacket(2, "+/+", 1), subscribePacket(3, "#", 0),
];

let daemon: DaemonProcess;
let upstream: HostileUpstream;
let port: number;
let witness: TestClient;
let startKiB: number;

const residentKiB = (): number => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${daemon.pid}/status`, "utf8"))?.[1]);

describe("a running daemon", () => {
  beforeAll(async () => {
    upstream = await HostileUpstream.open();
    [port = 0] = await freePorts(1);
    const bridges = Array.from({ length: BRIDGES }, (_, i) => `
connection bridge${i}
address 127.0.0.1:${upstream.port}
reconnect_interval 1
max_reconnect_interval 1
connect_timeout 2
keepalive_interval 5
topic fuzz/# both ${i % 3} local${i}/ remote${i}/
topic only/in in 1
topic only/out out 2
`);
    daemon = await DaemonProcess.start(`listener ${port} 127.0.0.1 auto\nconnection_messages false\nmax_queued_messages 100\n${bridges.join("")}`);
    witness = await connect311(port, { clientId: "witness" });
    await witness.subscribe("witness", 1);
    startKiB = residentKiB();
  });

  afterAll(async () => {
    await witness?.end();
    await daemon?.cleanup();
    await upstream?.close();
  });

  /** Whatever has been sent: others are served, nothing is an internal error, memory has a bound. */
  async function isWell(): Promise<void> {
    const begun = performance.now();
    await witness.publish("witness", "are you there", { qos: 1 });
    const ms = performance.now() - begun;
    if (ms > MAX_PUBLISH_MS) throw new Error(`an acknowledgement took ${Math.round(ms)} ms`);
    const wrong = daemon.lines.find((line) => /CWNAN\d{4}[SF]|CWNAN0013/.test(line));
    if (wrong !== undefined) throw new Error(wrong);
    const grownKiB = residentKiB() - startKiB;
    if (grownKiB > MAX_GROWTH_KIB) throw new Error(`memory has grown by ${grownKiB} KiB`);
    witness.messages.length = 0;
  }

  /** Sends to a connection of its own, and waits until it is closed or the bytes are with the system. */
  async function throwAt(rng: Rng, bytes: Buffer): Promise<void> {
    const connection = await RawConnection.dial(port);
    for (const piece of pieces(rng, bytes)) {
      connection.write(piece);
      if (connection.ended) break;
    }
    if (rng() < 0.5) connection.socket.end();
    await Promise.race([connection.closed(10_000).catch(() => undefined), new Promise((resolve) => setTimeout(resolve, 20))]);
    connection.destroy();
  }

  const session = (rng: Rng): Buffer => {
    const clientId = `fuzz${below(rng, 5)}`;
    const connect5 = makePacket(0x10, mqttString("MQTT"), Buffer.from([5, rng() < 0.5 ? 2 : 0, 0, 0, 5, 0x11, 0, 0, 0, 9]), mqttString(clientId));
    const connect = rng() < 0.5 ? connect5 : connectPacket(clientId, { clean: rng() < 0.5 });
    const begin = rng() < 0.8 ? connect : mutateBytes(rng, pick(rng, [connect, ...corpus]), corpus);
    return Buffer.concat([begin, ...Array.from({ length: below(rng, 12) }, () => (rng() < 0.5 ? pick(rng, corpus) : mutateBytes(rng, pick(rng, corpus), corpus)))]);
  };

  fuzz("takes sessions of well and badly formed packets", 0.14, async (rng) => {
    await Promise.all(Array.from({ length: CONNECTIONS_A_ROUND }, () => throwAt(rng, session(rng))));
    await isWell();
  });

  fuzz("takes WebSocket upgrades, frames and requests, well and badly formed", 0.14, async (rng) => {
    const headers = ["Sec-WebSocket-Protocol: mqtt", "Sec-WebSocket-Key: AAAA", "Upgrade: h2c", "Connection: close", "Content-Length: 5", "Transfer-Encoding: chunked", "Origin: null", "Range: bytes=0-", "Expect: 100-continue"];
    await Promise.all(Array.from({ length: CONNECTIONS_A_ROUND }, () => {
      const request = rng() < 0.5 ? upgradeRequest() : mutateText(rng, pick(rng, [upgradeRequest(), "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST /x HTTP/1.0\r\n\r\n"]), headers);
      const frames = Array.from({ length: below(rng, 8) }, () => frame(session(rng), { opcode: pick(rng, [2, 2, 2, 0, 1, 8, 9, 10]), isFinal: rng() < 0.9 }));
      const bytes = Buffer.concat(frames);
      return throwAt(rng, Buffer.concat([Buffer.from(request), rng() < 0.5 ? bytes : mutateBytes(rng, bytes, [bytes, ...corpus])]));
    }));
    await isWell();
  });

  fuzz("survives upstream brokers that answer with anything", 0.16, async (rng) => {
    upstream.rng = rng;
    const before = upstream.connections;
    await witness.publish("fuzz/out", "x".repeat(below(rng, 3_000)), { qos: 2 });
    await witness.publish("only/out", "x", { qos: 1 });
    await upstream.untilConnections(before + BRIDGES);
    await isWell();
  });
});

/** Accepts connections of bridges and answers what a seeded generator makes up, well formed often enough to get further. */
class HostileUpstream {
  rng: Rng = () => 0.5;
  connections = 0;
  readonly #sockets = new Set<net.Socket>();
  #waiting: (() => void) | undefined;

  private constructor(private readonly server: net.Server) {
    server.on("connection", (socket) => this.#onConnection(socket));
  }

  static async open(): Promise<HostileUpstream> {
    const server = net.createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    return new HostileUpstream(server);
  }

  get port(): number {
    return (this.server.address() as net.AddressInfo).port;
  }

  #onConnection(socket: net.Socket): void {
    this.#sockets.add(socket);
    this.connections += 1;
    this.#waiting?.();
    socket.on("error", () => undefined).on("close", () => this.#sockets.delete(socket));
    let reads = 0;
    socket.on("data", () => {
      const { rng } = this;
      const isFirst = reads++ === 0;
      if (isFirst && rng() < 0.75) socket.write(Buffer.from("20020000", "hex"));
      for (let answers = below(rng, 5); answers > 0; answers--) socket.write(this.#answer());
      if (rng() < 0.3) socket.end();
      else if (rng() < 0.2) socket.destroy();
    });
  }

  #answer(): Buffer {
    const { rng } = this;
    const id = below(rng, 5) + pick(rng, [0, 49_152]);
    const two = Buffer.from([id >> 8, id & 255]);
    const good = pick(rng, [
      Buffer.from("20020000", "hex"), Buffer.from("20020100", "hex"), Buffer.concat([Buffer.from("9003", "hex"), two, Buffer.from([pick(rng, [0, 1, 2, 0x80])])]),
      Buffer.concat([Buffer.from("9002", "hex"), two]), // a SUBACK without codes
      ...[0x40, 0x50, 0x62, 0x70, 0xb0].map((first) => Buffer.concat([Buffer.from([first, 2]), two])),
      publishPacket(`remote${below(rng, BRIDGES)}/fuzz/in`, "z".repeat(below(rng, 2_000)), { qos: pick(rng, [0, 1, 2]), id: id || 1 }),
      publishPacket(pick(rng, ["only/in", "unmatched", "remote1/", "remote1", "$SYS/x", "remote1/fuzz/$x"]), "z", { qos: pick(rng, [0, 1, 2]), id: 9 }),
      Buffer.from("d000", "hex"), pick(rng, corpus),
    ]);
    return rng() < 0.6 ? good : mutateBytes(rng, good, corpus);
  }

  /** Gives up quietly: a bridge that waits longer is none that fails. */
  async untilConnections(count: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, 8_000);
      this.#waiting = () => {
        if (this.connections < count) return;
        clearTimeout(timer);
        resolve();
      };
      this.#waiting();
    });
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.server.close();
    await once(this.server, "close");
  }
}
