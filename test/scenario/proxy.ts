import { once } from "node:events";
import net from "node:net";
import { FrameSplitter, frameBody } from "./clients.ts";
import { readPublish, readVersion, type Version } from "./packets.ts";

/** Told of every packet before it is passed on. */
export interface LinkObserver {
  fromBridge(frame: Buffer): void;
  fromBroker(frame: Buffer): void;
  /** The bridge's side of a connection is gone. */
  closed(): void;
}

/**
 * Stands between a bridge and its upstream broker, notes what the broker took and judges the bridge's QoS 2 sending.
 * Invariant watched [MQTT-4.3.3-1]: once an id's PUBREC has passed, no new PUBLISH carries it before its PUBCOMP.
 * A CONNACK without a session frees all ids.
 */
export class RecordingProxy {
  readonly violations: string[] = [];
  /** Complete QoS 2 exchanges seen. */
  completed = 0;
  /** Payloads that the upstream broker has answered with PUBACK or PUBREC. */
  readonly taken = new Set<string>();
  /** QoS 2 PUBLISH packets seen with DUP set. */
  repeated = 0;
  /** While true connections are closed as soon as they are made. */
  isDown = false;
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  readonly #receivedIds = new Set<number>();
  readonly #payloads = new Map<number, string>();
  /** Of the newest connection. */
  #version: Version = 4;

  private constructor(
    readonly upstreamPort: number,
    private readonly observer: LinkObserver | undefined,
  ) {
    this.#server = net.createServer((downstream) => this.#join(downstream));
  }

  static async start(upstreamPort: number, observer?: LinkObserver): Promise<RecordingProxy> {
    const proxy = new RecordingProxy(upstreamPort, observer);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port;
  }

  /** Breaks the link; what is under way in either direction is lost. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, "close");
  }

  #join(downstream: net.Socket): void {
    if (this.isDown) {
      downstream.destroy();
      return;
    }
    const upstream = net.connect(this.upstreamPort, "127.0.0.1");
    this.#pass(downstream, upstream, (frame) => this.#fromBridge(frame));
    this.#pass(upstream, downstream, (frame) => this.#fromBroker(frame));
    downstream.on("close", () => this.observer?.closed());
  }

  #pass(from: net.Socket, to: net.Socket, observe: (frame: Buffer) => void): void {
    const splitter = new FrameSplitter();
    this.#sockets.add(from);
    from.setNoDelay(true);
    from.on("data", (bytes) => {
      // Noted before it is passed on, so that no answer can overtake the note.
      for (const frame of splitter.push(bytes)) observe(frame);
      if (!to.destroyed) to.write(bytes);
    });
    from.on("error", () => undefined);
    from.on("close", () => {
      this.#sockets.delete(from);
      // Not `destroy`: what was read before must still arrive.
      to.end();
    });
  }

  #fromBridge(frame: Buffer): void {
    this.observer?.fromBridge(frame);
    const type = (frame[0] ?? 0) >> 4;
    if (type === 1) this.#version = readVersion(frame);
    if (type !== 3) return;
    const { topic, payload, qos, id, dup } = readPublish(frame, this.#version);
    if (qos > 0) this.#payloads.set(id, payload);
    if (qos !== 2) return;
    if (dup) this.repeated++;
    else if (this.#receivedIds.has(id)) this.violations.push(`PUBLISH ${id} ${topic} without DUP after its PUBREC`);
  }

  #fromBroker(frame: Buffer): void {
    this.observer?.fromBroker(frame);
    const type = (frame[0] ?? 0) >> 4;
    const body = frameBody(frame);
    if (type === 2 && ((body[0] ?? 0) & 1) === 0) this.#receivedIds.clear();
    if (type === 4 || type === 5) this.taken.add(this.#payloads.get(body.readUInt16BE(0)) ?? "");
    if (type === 5) this.#receivedIds.add(body.readUInt16BE(0));
    if (type === 7 && this.#receivedIds.delete(body.readUInt16BE(0))) this.completed++;
  }
}
