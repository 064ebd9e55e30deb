import { expect, it } from "vitest";
import { RawClient } from "../scenario/clients.ts";
import { DaemonProcess, freePort } from "../scenario/daemon.ts";
import { mosquittoAvailable, mosquittoMissing, MosquittoProcess } from "../scenario/mosquitto.ts";
import { connectPacket, readId, readPublish, readVersion, subscribePacket, type Version } from "../scenario/packets.ts";
import { RecordingProxy, type LinkObserver } from "../scenario/proxy.ts";
import { seededRng } from "../sim/virtual-clock.ts";
import { DeliveryWatch, keyOf, numbered } from "./delivery-watch.ts";
import { SessionClient, type Outgoing } from "./session-client.ts";

const isLong = process.env["AMQTDD_LONG"] === "1";
const KILLS = isLong ? 200 : 20;
/** A step that nobody takes in this time is not waited for any longer. */
const STEP_MS = 1_000;
/** Right after a step, or while its answer is on its way or being written. */
const MAX_AFTER_STEP_MS = 4;
/** While what is left when the faults are over arrives, there is no pause as long as this. */
const STANDSTILL_MS = 30_000;
/** Retained messages for a new subscription are in the first turns after SUBACK, not all in the first one: a busy machine has short turns. */
const REPLAY_MS = 3_000;
/** The daemon notes acknowledgements within a second; the watch tolerates three. */
const QUIET_MS = 3_500;
const MOST_UNFINISHED = 60;
const BURST = 10;
const PINGREQ = "c000";
const PINGRESP = "d000";

/** A window that ours fits into: mosquitto closes the connection of whom has more QoS 2 messages under way. */
const MOSQUITTO = "max_inflight_messages 100\nset_tcp_nodelay true\nmax_topic_alias 0";

/** Steps of the exchanges at which the daemon is killed: packets that clients get from it, and those that pass between its bridge and mosquitto. */
const STEPS = [
  ...["CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBACK", "UNSUBACK"].map((packet) => `${packet} to a client`),
  ...["PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP"].flatMap((packet) => [`${packet} of the bridge`, `${packet} to the bridge`]),
] as const;
const PACKETS = ["", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK"];

/** Judges what the bridge sends, and notes what mosquitto sends it: in which order, and what more than once. */
class BridgeObserver implements LinkObserver {
  readonly watch = new DeliveryWatch("bridge");
  readonly sentAgain = new Set<string>();
  readonly #places = new Map<string, number>();
  version: Version = 4;

  constructor(private readonly onStep: (step: string) => void) {}

  fromBridge(frame: Buffer): void {
    const type = (frame[0] ?? 0) >> 4;
    this.onStep(`${PACKETS[type]} of the bridge`);
    if (type === 1) this.version = readVersion(frame);
    if (type === 3 && ((frame[0] ?? 0) & 6) !== 0) this.watch.publish(readPublish(frame, this.version)); // QoS 0: the bridge's notifications
    if (type === 6) this.watch.release(readId(frame));
  }

  fromBroker(frame: Buffer): void {
    const type = (frame[0] ?? 0) >> 4;
    this.onStep(`${PACKETS[type]} to the bridge`);
    // CONNACK of 3.1 does not say whether the session is there.
    if (type === 2) this.watch.begin((frame[2] ?? 0) === 1 || this.version === 3);
    if (type === 3) this.#note(readPublish(frame, this.version).payload);
    if (type === 4) this.watch.acknowledge(readId(frame));
    if (type === 5) this.watch.receive(readId(frame));
  }

  closed(): void {
    this.watch.end();
  }

  #note(payload: string): void {
    const key = payload.split(" ", 2).join(" ");
    if (this.#places.has(key)) this.sentAgain.add(key);
    else this.#places.set(key, this.#places.size);
  }

  /** mosquitto 2.0.11 does so at times: after a reconnect a new message may go before those that were queued. */
  hasSentBefore(first: string, second: string): boolean {
    return (this.#places.get(first) ?? Infinity) < (this.#places.get(second) ?? -1);
  }
}

/** One sender's messages of one QoS under one topic, numbered. */
class Stream {
  readonly topic: string;
  readonly sent: Outgoing[] = [];

  constructor(
    readonly name: string,
    readonly client: SessionClient,
    readonly qos: 1 | 2,
    readonly room: string,
  ) {
    this.topic = `${room}/${name}`;
  }

  publish(fillingBytes: number, options: { topic?: string; retain?: boolean } = {}): Outgoing {
    const { topic = this.topic, retain = false } = options;
    const message = this.client.publish(topic, numbered(this.name, this.sent.length, fillingBytes), this.qos, { retain });
    this.sent.push(message);
    return message;
  }

  get keys(): string[] {
    return this.sent.map((_message, number) => keyOf(this.name, number));
  }
}

/** Everything around the daemon: mosquitto behind a proxy, clients, and what each of them did. */
class CrashRun {
  readonly complaints: string[] = [];
  kills = 0;
  readonly #random: () => number;
  readonly #cleanups: (() => Promise<void> | void)[] = [];
  readonly #observer = new BridgeObserver((step) => this.#onStep(step));
  readonly #clients: SessionClient[] = [];
  readonly #streams: Stream[] = [];
  readonly #unheard: string[] = [];
  readonly #heard: string[] = [];
  /** Sets and clears by topic, in order. */
  readonly #retained = new Map<string, Outgoing[]>();
  #isOver = false;
  #daemon: DaemonProcess | undefined;
  /** The daemon's. */
  #port = 0;
  /** Few messages for a while: queues get empty, and what comes is sent on at once. */
  #isCalm = false;
  /** The step that is waited for, and who waits; and how often the daemon was killed at which. */
  #awaitedStep: { readonly step: string; readonly taken: () => void } | undefined;
  readonly #killedAt = new Map<string, number>();

  constructor(readonly seed: number) {
    this.#random = seededRng(seed);
  }

  async cleanup(): Promise<void> {
    this.#isOver = true;
    for (const cleanup of this.#cleanups.reverse()) await cleanup();
  }

  async run(): Promise<void> {
    const mosquitto = await MosquittoProcess.start({ extra: MOSQUITTO });
    this.#cleanups.push(() => mosquitto.cleanup());
    const proxy = await RecordingProxy.start(mosquitto.port, this.#observer);
    this.#cleanups.push(() => proxy.close());
    const port = (this.#port = await freePort());
    const config = `
max_inflight_messages ${this.#pick([5, 50, 80])}
max_queue_memory ${this.#pick([1, 100_000, 16_777_216])}
max_queued_messages 0
listener ${port} 127.0.0.1
connection up
address 127.0.0.1:${proxy.port}
reconnect_interval 1
bridge_protocol_version ${this.#pick(["3.1", "3.1.1", "5"])}
topic # out 2 "" up/
topic cmd/# in 2
`;
    const daemon = (this.#daemon = await DaemonProcess.start(config));
    this.#cleanups.push(() => daemon.cleanup());

    const subscribers = [this.#client("local-1", port), this.#client("local-2", port)] as const;
    for (const [index, subscriber] of subscribers.entries()) {
      await subscriber.subscribe("s/#", index === 0 ? 1 : 2);
      await subscriber.subscribe("cmd/#", index === 0 ? 1 : 2);
    }
    await mosquitto.waitForLine(/Sending SUBACK to /); // the bridge's
    const publishers = ["a", "b", "c"].map((name) => this.#client(name, port));
    const central = this.#client("central", mosquitto.port);
    for (const publisher of publishers) this.#load(publisher, "s", 20);
    this.#load(central, "cmd", 60);
    const keeper = this.#client("keeper", port);
    this.#keepRetained(keeper);
    const readers = this.#readRetainedOften(port);
    const subscribing = this.#subscribeAndUnsubscribe(port);
    for (const client of [...publishers, ...subscribers, keeper]) this.#often(3_000, () => client.drop());
    this.#often(4_000, () => this.#flap(proxy));
    this.#often(2_000, () => (this.#isCalm = !this.#isCalm));

    await this.#killOften(daemon);

    this.#isOver = true;
    proxy.isDown = false;
    await Promise.all([readers, subscribing]);
    await this.#drain(subscribers);
    // Acknowledgements that are old enough are noted: after one more kill nothing comes again, but what is new arrives.
    await pause(QUIET_MS);
    await this.#kill(daemon);
    await daemon.start();
    for (const stream of this.#streams) stream.publish(10);
    await this.#drain(subscribers);
    await this.#judgeRetained(port);
    this.#judge(daemon, proxy);
  }

  #pick<T>(choices: readonly T[]): T {
    return choices[Math.floor(this.#random() * choices.length)] as T; // the index is below the length
  }

  #client(clientId: string, port: number): SessionClient {
    const client = new SessionClient(clientId, port, port === this.#port ? this.#pick([3, 4, 5] as const) : 4, seededRng(Math.floor(this.#random() * 2 ** 32)), (type) => {
      if (port === this.#port) this.#onStep(`${PACKETS[type]} to a client`);
    });
    this.#clients.push(client);
    this.#cleanups.push(() => client.stop());
    client.start();
    return client;
  }

  /** Until the load is done, with pauses of random length. */
  #often(maxPauseMs: number, act: () => void): void {
    const random = seededRng(Math.floor(this.#random() * 2 ** 32));
    const next = (): void => {
      if (this.#isOver) return;
      act();
      setTimeout(next, random() * maxPauseMs);
    };
    setTimeout(next, random() * maxPauseMs);
  }

  #load(client: SessionClient, room: string, maxPauseMs: number): void {
    const streams = ([1, 2] as const).map((qos) => new Stream(`${client.clientId}-${qos}`, client, qos, room));
    this.#streams.push(...streams);
    this.#often(maxPauseMs, () => {
      for (let count = Math.floor(this.#random() * (this.#isCalm ? 2 : BURST)); count > 0 && client.unfinished < MOST_UNFINISHED; count--) {
        const dice = this.#random();
        this.#pick(streams).publish(Math.floor(dice < 0.005 ? 80_000 : dice < 0.1 ? dice * 50_000 : 20));
      }
    });
  }

  #keepRetained(keeper: SessionClient): void {
    const streams = ([1, 2] as const).map((qos) => new Stream(`${keeper.clientId}-${qos}`, keeper, qos, "r"));
    this.#streams.push(...streams);
    for (const stream of streams) this.#retained.set(stream.topic, []);
    this.#often(20, () => {
      if (keeper.unfinished >= MOST_UNFINISHED) return;
      const stream = this.#pick(streams);
      const isClear = this.#random() < 0.3;
      const message = isClear ? keeper.publish(stream.topic, "", stream.qos, { retain: true }) : stream.publish(10, { retain: true });
      this.#retained.get(stream.topic)?.push(message);
    });
  }

  async #readRetainedOften(port: number): Promise<void> {
    while (!this.#isOver) {
      await pause(this.#random() * 200);
      await this.#judgeRetained(port).catch(() => undefined); // the daemon is down or was killed meanwhile
    }
  }

  /** What a new subscriber gets is the last acknowledged value or one that was sent later. Rejects when the daemon does not answer. */
  async #judgeRetained(port: number): Promise<void> {
    const reader = await RawClient.open(port);
    try {
      reader.send(connectPacket(`reader-${Math.floor(this.#random() * 1e9)}`).toString("hex"));
      await reader.frame();
      const owed = new Map([...this.#retained].map(([topic, history]) => [topic, history.findLastIndex(({ isAcknowledged }) => isAcknowledged)]));
      reader.send(subscribePacket(1, "r/#", 0).toString("hex"));
      const found = new Map<string, string>();
      const staleTopics = (): string[] => [...owed].filter(([topic, index]) => index >= 0 && !this.#isFrom(topic, index, found.get(topic) ?? "")).map(([topic]) => topic);
      const endMs = Date.now() + REPLAY_MS;
      do {
        reader.send(PINGREQ);
        for (let frame = await reader.frame(); frame !== PINGRESP; frame = await reader.frame()) {
          if (frame.startsWith("31")) found.set(readPublish(Buffer.from(frame, "hex")).topic, readPublish(Buffer.from(frame, "hex")).payload);
        }
      } while (staleTopics().length > 0 && Date.now() < endMs);
      for (const topic of staleTopics()) {
        const acknowledged = this.#retained.get(topic)?.[owed.get(topic) ?? 0]?.payload;
        this.complaints.push(`retained value of ${topic} is "${found.get(topic) ?? ""}", older than "${acknowledged}", which was acknowledged`);
      }
    } finally {
      reader.destroy();
    }
  }

  /** Whether the value is the one of this place in the topic's history, or a later one. */
  #isFrom(topic: string, index: number, value: string): boolean {
    return this.#retained.get(topic)?.slice(index).some(({ payload }) => payload === value) ?? false;
  }

  /** After SUBACK every message comes, after UNSUBACK none does, whatever happens to the daemon. Several topics at a time. */
  async #subscribeAndUnsubscribe(port: number): Promise<void> {
    const listener = this.#client("listener", port);
    const stream = new Stream("told-1", this.#client("teller", port), 1, "told");
    this.#streams.push(stream);
    const tell = async (topic: string, keys: string[]): Promise<void> => {
      await pause(this.#random() * 100);
      keys.push(keyOf(stream.name, stream.sent.length));
      const message = stream.publish(10, { topic: `${topic}/${stream.name}` });
      await this.#until(() => message.isAcknowledged, `PUBACK for ${message.payload}`);
    };
    const visit = async (place: string): Promise<void> => {
      for (let round = 0; !this.#isOver; round++) {
        const topic = `told/${place}${round}`;
        await listener.subscribe(`${topic}/+`, 1);
        await tell(topic, this.#heard);
        await listener.unsubscribe(`${topic}/+`);
        await tell(topic, this.#unheard);
      }
    };
    await Promise.all(["a", "b", "c", "d", "e", "f", "g", "h"].map(visit));
  }

  #flap(proxy: RecordingProxy): void {
    proxy.cut();
    if (this.#random() < 0.7) return;
    proxy.isDown = true;
    setTimeout(() => (proxy.isDown = false), this.#random() * 2_000);
  }

  async #killOften(daemon: DaemonProcess): Promise<void> {
    while (this.kills < KILLS) {
      await pause(this.#random() * (this.#random() < 0.2 ? 4_500 : 1_000));
      if (this.#random() < 0.7) await this.#reachStep(this.#pick(STEPS));
      await this.#kill(daemon);
      // Again before it has come up.
      while (this.#random() < 0.2) {
        daemon.spawn();
        await pause(this.#random() * 250);
        await this.#kill(daemon);
      }
      await daemon.start();
    }
  }

  #onStep(step: string): void {
    if (this.#awaitedStep?.step !== step) return;
    this.#awaitedStep.taken();
    this.#awaitedStep = undefined;
  }

  async #reachStep(step: string): Promise<void> {
    const isReached = await Promise.race([
      new Promise<true>((resolve) => (this.#awaitedStep = { step, taken: () => resolve(true) })),
      pause(STEP_MS),
    ]);
    if (isReached) this.#killedAt.set(step, (this.#killedAt.get(step) ?? 0) + 1);
    if (isReached && this.#random() < 0.5) await pause(this.#random() * MAX_AFTER_STEP_MS);
  }

  async #kill(daemon: DaemonProcess): Promise<void> {
    this.kills += 1;
    const exit = await daemon.kill("SIGKILL");
    if (exit?.signal === "SIGKILL") return;
    this.complaints.push(`the daemon ended by itself with code ${exit?.code}: ${daemon.lines.slice(-20).join("\n")}`);
  }

  /** Waits until every message has reached everybody it is for. */
  async #drain(subscribers: readonly SessionClient[]): Promise<void> {
    await this.#until(() => this.#clients.every(({ unfinished }) => unfinished === 0), () =>
      `the last acknowledgement: ${this.#clients.map(({ clientId, unfinished }) => `${clientId} awaits ${unfinished}`).join(", ")}`);
    const at = (room: string): string[] => this.#streams.filter((stream) => stream.room === room).flatMap(({ keys }) => keys);
    const up = [...at("s"), ...at("r"), ...this.#heard, ...this.#unheard];
    const local = [...at("s"), ...at("cmd")];
    for (const { watch } of subscribers) await this.#untilAll(local, (key) => watch.has(key), watch.name);
    await this.#untilAll(up, (key) => this.#observer.watch.isTaken(key), "mosquitto");
    const listener = this.#clients.find(({ clientId }) => clientId === "listener")?.watch;
    await this.#untilAll(this.#heard, (key) => listener?.has(key) ?? false, "listener");
  }

  async #untilAll(keys: readonly string[], has: (key: string) => boolean, name: string): Promise<void> {
    let missing = keys.filter((key) => !has(key));
    while (missing.length > 0) {
      const { length } = missing;
      await this.#until(
        () => (missing = missing.filter((key) => !has(key))).length < length,
        () => `${length} acknowledged messages never came to ${name}: ${missing.slice(0, 5).join(", ")}`,
      );
    }
  }

  async #until(condition: () => boolean, what: string | (() => string)): Promise<void> {
    const endMs = Date.now() + STANDSTILL_MS;
    while (!condition()) {
      if (Date.now() > endMs) throw new Error(typeof what === "string" ? what : what());
      await pause(50);
    }
  }

  #judge(daemon: DaemonProcess, proxy: RecordingProxy): void {
    const listener = this.#clients.find(({ clientId }) => clientId === "listener")?.watch;
    for (const key of this.#unheard) if (listener?.has(key)) this.complaints.push(`listener got ${key} after UNSUBACK`);
    const sentAgain = new Set(this.#observer.sentAgain);
    for (const { name, sent } of this.#streams) {
      for (const [number, { sendings }] of sent.entries()) if (sendings > 1) sentAgain.add(keyOf(name, number));
    }
    for (const watch of [...this.#clients.map((client) => client.watch), this.#observer.watch]) {
      const overtaken = watch.overtaken.filter(({ key, by }) => !this.#observer.hasSentBefore(by, key));
      this.complaints.push(...watch.violations, ...overtaken.map(({ key, by }) => `${watch.name}: ${key} after ${by}`));
      this.complaints.push(...watch.unexplained.filter(({ key }) => !sentAgain.has(key)).map(({ text }) => text));
    }
    this.complaints.push(...this.#clients.flatMap(({ violations }) => violations), ...proxy.violations);
    this.complaints.push(...daemon.lines.filter((line) => /CWNAN\d{4}[ESF]/.test(line) || line.includes("broke the protocol")));
  }

  /** What the daemon has said last. */
  get lastLines(): readonly string[] {
    return this.#daemon?.lines.slice(-20) ?? [];
  }

  /** What explains a complaint, perhaps. */
  get notableLines(): readonly string[] {
    return this.#daemon?.lines.filter((line) => /CWNAN(0099|0302|0303|0308|0343)/.test(line)) ?? [];
  }

  /** For a run that did not come to its end. */
  get findings(): string[] {
    return [...this.complaints, ...this.#clients.flatMap(({ violations, watch }) => [...violations, ...watch.violations]), ...this.#observer.watch.violations];
  }

  get summary(): string {
    const messages = this.#streams.reduce((sum, { sent }) => sum + sent.length, 0);
    const steps = [...this.#killedAt].map(([step, count]) => `${step} ${count}`).join(", ");
    const plainer = this.#daemon?.lines.filter((line) => line.includes("CWNAN0099I")).length;
    return `${this.kills} kills (at ${steps}), MQTT ${this.#clients.map(({ version }) => version).join("")}, bridge ${this.#observer.version}, ${messages} messages, ${this.#heard.length} subscriptions, ${plainer} times a plainer CONNECT`;
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const name = `A1.21: keeps its word through ${KILLS} kills under load`;

it.skipIf(!mosquittoAvailable())(mosquittoAvailable() ? name : mosquittoMissing, { timeout: isLong ? 1_200_000 : 180_000 }, async () => {
  // Kills come at moments that no seed fixes: AMQTDD_SEED=N repeats the choices, not the failure.
  const seed = Number(process.env["AMQTDD_SEED"] ?? Math.floor(Math.random() * 1e6));
  const run = new CrashRun(seed);
  try {
    await run.run();
  } catch (error) {
    throw new Error(`AMQTDD_SEED=${seed}, ${run.summary}: ${String(error)}\n${run.findings.slice(0, 20).join("\n")}\n${run.lastLines.join("\n")}`, { cause: error });
  } finally {
    await run.cleanup();
  }
  console.log(run.summary);
  if (run.complaints.length > 0) console.log(run.notableLines.join("\n"));
  expect(run.complaints.slice(0, 20), `AMQTDD_SEED=${seed}, ${run.summary}, ${run.complaints.length} complaints`).toEqual([]);
});
