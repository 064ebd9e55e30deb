import type { Clock, Rng } from "../../src/clock/clock.ts";
import type { Transport } from "../../src/link/transport.ts";
import { encodeConnect } from "../../src/mqtt/connect.ts";
import { encodePublish, publishSize } from "../../src/mqtt/publish.ts";
import { encodeSubscribe } from "../../src/mqtt/subscribe.ts";
import type { Network } from "./network.ts";

const MAX_VISIT_MS = 400;
/** Known to the daemon from each visit whose session lives on: another session must not inherit it. */
const PACKET_ID = 7;

/** A device that leaves sessions behind, with subscriptions, queued messages and an unfinished QoS 2 message, and ends them by connecting clean. */
export class Visitor {
  private clean = false;
  private isLast = false;
  private ended = false;

  constructor(
    readonly id: string,
    private readonly network: Network,
    private readonly port: number,
    private readonly clock: Clock,
    private readonly rng: Rng,
    private readonly filter: string,
  ) {}

  start(): void {
    this.network.dial(this.id, this.port, (open) => this.visit(open({ onBytes: () => this.answered(), onDrain: () => undefined, onClose: () => undefined })), () => this.again());
  }

  /** The next visit that is answered and ends the session is the last. */
  stop(): void {
    this.isLast = true;
  }

  get isGone(): boolean {
    return this.ended;
  }

  private visit(transport: Transport): void {
    const isLast = this.isLast;
    this.clean = isLast || this.rng() < 0.5;
    this.ended = false;
    const packets = [encodeConnect({ version: 4, bridge: false, clientId: this.id, cleanStart: this.clean, keepAliveSeconds: 0 })];
    if (!this.clean) packets.push(encodeSubscribe(4, 1, [{ filter: this.filter, qos: 2 }]), publishUnfinished());
    transport.write(Buffer.concat(packets), () => undefined);
    this.clock.after(this.rng() * MAX_VISIT_MS, () => {
      transport.destroy();
      if (!isLast || !this.ended) this.again();
    });
  }

  private answered(): void {
    this.ended = this.clean;
  }

  private again(): void {
    this.clock.after(this.rng() * MAX_VISIT_MS, () => this.start());
  }
}

function publishUnfinished(): Buffer {
  const topic = Buffer.from("visit");
  const packet = Buffer.alloc(publishSize(topic.length, 1, 2));
  encodePublish(packet, 0, 2 << 1, topic, 0, topic.length, PACKET_ID, Buffer.from("x"), 0, 1);
  return packet;
}
