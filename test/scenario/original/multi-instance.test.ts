import { once } from "node:events";
import net from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { connect311, frameBody, FrameSplitter, type TestClient } from "../clients.ts";
import { DaemonProcess, freePort, freePorts } from "../daemon.ts";
import { ackPacket, makePacket, PUBACK, PUBCOMP, PUBREC, PUBREL, publishPacket, readId, readPublish, type Publish, type QoS } from "../packets.ts";

const cleanups: (() => Promise<unknown> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Outgoing {
  readonly id: number;
  readonly payload: string;
  readonly qos: QoS;
  isReceived: boolean;
}

/**
 * Stands in for a multi-instance queue manager: two servers, one at a time, with one session in a store that both share.
 * Invariant: everything is in the store before it is answered.
 */
class QueueManagerPair {
  /** What was published to it, in order; a QoS 2 message once, a QoS 1 message as often as it came. */
  readonly taken: Publish[] = [];
  /** Identifiers that came for another message than the one they stand for, and repetitions without DUP. */
  readonly violations: string[] = [];
  readonly sessionsFound: boolean[] = [];
  subscribes = 0;
  /** alive; mute: what comes is stored, the answers are lost; deaf: nothing that comes is stored. */
  state: "alive" | "mute" | "deaf" = "alive";
  private hasSession = false;
  private readonly received = new Map<number, string>();
  private readonly unacknowledged = new Map<number, string>();
  private outgoing: Outgoing[] = [];
  private nextId = 1;
  private server: net.Server | undefined;
  private active: net.Socket | undefined;

  /** Opens the instance on the port; the other one must not be open. */
  async open(port: number): Promise<void> {
    this.state = "alive";
    const server = net.createServer((socket) => this.serve(socket)).listen(port, "127.0.0.1");
    await once(server, "listening");
    this.server = server;
  }

  /** The instance dies. */
  async fail(): Promise<void> {
    this.active?.destroy();
    const { server } = this;
    this.server = undefined;
    if (!server) return;
    server.close();
    await once(server, "close");
  }

  /** To the bridge's subscription; kept until it is acknowledged. */
  publish(payload: string, qos: QoS): void {
    const message = { id: this.nextId++, payload, qos, isReceived: false };
    this.outgoing.push(message);
    this.active?.write(publishPacket("down", payload, { qos, id: message.id }));
  }

  get undelivered(): number {
    return this.outgoing.length;
  }

  private serve(socket: net.Socket): void {
    const splitter = new FrameSplitter();
    socket.on("error", () => undefined);
    socket.on("data", (bytes) => {
      for (const frame of splitter.push(bytes)) if (this.state !== "deaf") this.take(socket, frame);
    });
  }

  private take(socket: net.Socket, frame: Buffer): void {
    const answer = (packet: Buffer): void => {
      if (this.state === "alive") socket.write(packet);
    };
    const type = (frame[0] ?? 0) >> 4;
    if (type === 1) return this.begin(socket, frame);
    if (type === 3) return this.takePublish(readPublish(frame), answer);
    if (type === 12) return answer(Buffer.from([0xd0, 0]));
    if (type === 14) return;
    const id = readId(frame);
    if (type === 8) {
      this.subscribes += 1;
      return answer(makePacket(0x90, Buffer.from([id >> 8, id & 0xff, 2])));
    }
    if (type === 6) {
      this.received.delete(id);
      return answer(ackPacket(PUBCOMP, id));
    }
    if (type === 5) {
      for (const message of this.outgoing) if (message.id === id) message.isReceived = true;
      return answer(ackPacket(PUBREL, id));
    }
    if (type === 4 || type === 7) this.outgoing = this.outgoing.filter((message) => message.id !== id);
  }

  private begin(socket: net.Socket, frame: Buffer): void {
    const body = frameBody(frame);
    const flags = body[3 + body.readUInt16BE(0)] ?? 0;
    if (flags & 2) {
      this.hasSession = false;
      this.received.clear();
      this.outgoing = [];
    }
    const isPresent = this.hasSession;
    this.hasSession = (flags & 2) === 0;
    if (this.hasSession) {
      this.active = socket;
      this.sessionsFound.push(isPresent);
    }
    socket.write(Buffer.from([0x20, 2, isPresent ? 1 : 0, 0]));
    for (const { id, payload, qos, isReceived } of this.outgoing) {
      if (isReceived) socket.write(ackPacket(PUBREL, id));
      else {
        const again = publishPacket("down", payload, { qos, id });
        again[0] = (again[0] ?? 0) | 8;
        socket.write(again);
      }
    }
  }

  private takePublish(publish: Publish, answer: (packet: Buffer) => void): void {
    const { id, payload, qos, dup } = publish;
    if (publish.topic.startsWith("$SYS")) return;
    const known = qos === 2 ? this.received.get(id) : this.unacknowledged.get(id);
    if (known !== undefined && known !== payload) this.violations.push(`${id} came for ${payload}, it stands for ${known}`);
    if (known !== undefined && !dup) this.violations.push(`${payload} came again without DUP`);
    if (qos < 2 || known === undefined) this.taken.push(publish);
    if (qos === 2) this.received.set(id, payload);
    else if (this.state === "alive") this.unacknowledged.delete(id);
    else this.unacknowledged.set(id, payload);
    if (qos > 0) answer(ackPacket(qos === 1 ? PUBACK : PUBREC, id));
  }
}

interface Rig {
  pair: QueueManagerPair;
  ports: [number, number];
  daemon: DaemonProcess;
  client: TestClient;
}

/** The daemon as the document configures it, connected to the first instance. */
async function startRig(): Promise<Rig> {
  const ports = (await freePorts(2)) as [number, number];
  const pair = new QueueManagerPair();
  await pair.open(ports[0]);
  cleanups.push(() => pair.fail());
  const port = await freePort();
  const daemon = await DaemonProcess.start(`
listener ${port} 127.0.0.1
connection QM
addresses 127.0.0.1:${ports[0]} 127.0.0.1:${ports[1]}
round_robin true
cleansession false
reconnect_interval 1
max_reconnect_interval 1
topic up out
topic down in
`);
  cleanups.push(() => daemon.cleanup());
  await daemon.waitForLine(/CWNAN0133I/);
  await expect.poll(() => pair.subscribes).toBe(1);
  const client = await connect311(port);
  cleanups.push(() => client.end());
  return { pair, ports, daemon, client };
}

const numbered = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);
/** Half QoS 1, half QoS 2. */
const qosOf = (number: number): 1 | 2 => (number % 2 === 0 ? 1 : 2);

describe("A1.15 multi-instance queue manager, with two servers that share one session store in its place", () => {
  it("QoS 1 and 2 messages that were in doubt when it switched over, there and back, arrive: QoS 2 once, in order", async () => {
    const { pair, ports, daemon, client } = await startRig();
    for (const [round, next] of [ports[1], ports[0]].entries()) {
      const first = round * 100;
      await Promise.all(numbered(first, first + 20).map((i) => client.publish("up", String(i), { qos: qosOf(i) })));
      await expect.poll(() => new Set(pair.taken.map(({ payload }) => payload)).size).toBe(round * 100 + 20);
      pair.state = "mute"; // it stores what comes, and nobody hears of it
      await Promise.all(numbered(first + 20, first + 60).map((i) => client.publish("up", String(i), { qos: qosOf(i) })));
      await expect.poll(() => pair.taken.length).toBeGreaterThan(round * 100 + 25);
      await pair.fail();
      await Promise.all(numbered(first + 60, first + 100).map((i) => client.publish("up", String(i), { qos: qosOf(i) })));
      await pair.open(next);
      await daemon.waitForLine(new RegExp(`CWNAN0133I .*:${next} `), { count: round === 0 ? 1 : 2 });
      await expect.poll(() => new Set(pair.taken.map(({ payload }) => payload)).size, { timeout: 5_000 }).toBe((round + 1) * 100);
    }
    const ofQos = (qos: QoS): number[] => pair.taken.filter((message) => message.qos === qos).map(({ payload }) => Number(payload));
    expect(ofQos(2)).toEqual(numbered(0, 200).filter((i) => qosOf(i) === 2));
    expect([...new Set(ofQos(1))]).toEqual(numbered(0, 200).filter((i) => qosOf(i) === 1));
    expect(pair.taken.some(({ dup }) => dup)).toBe(true);
    expect(pair.violations).toEqual([]);
    expect(pair.sessionsFound).toEqual([false, true, true]);
  });

  it("subscriptions go on: what was in doubt, and what was published while no instance was there, comes to local clients; QoS 2 once", async () => {
    const { pair, ports, daemon, client } = await startRig();
    await client.subscribe("down", 2);
    for (const i of numbered(0, 4)) pair.publish(String(i), qosOf(i));
    await client.waitForMessages(4);
    await expect.poll(() => pair.undelivered).toBe(0);
    pair.state = "deaf"; // what the bridge answers is lost
    for (const i of numbered(4, 10)) pair.publish(String(i), qosOf(i));
    await client.waitFor("down", "8");
    await pair.fail();
    for (const i of numbered(10, 20)) pair.publish(String(i), qosOf(i));
    await pair.open(ports[1]);
    await daemon.waitForLine(new RegExp(`CWNAN0133I .*:${ports[1]} `));
    await expect.poll(() => pair.undelivered, { timeout: 5_000 }).toBe(0);
    await client.waitUntil(() => new Set(client.messages.map(({ payload }) => payload)).size === 20);
    const ofQos = (qos: 1 | 2): number[] => client.messages.filter((message) => message.qos === qos).map(({ payload }) => Number(payload));
    expect(ofQos(2)).toEqual(numbered(0, 20).filter((i) => qosOf(i) === 2));
    expect(new Set(ofQos(1))).toEqual(new Set(numbered(0, 20).filter((i) => qosOf(i) === 1)));
    expect(pair.sessionsFound).toEqual([false, true]);
  });
});
