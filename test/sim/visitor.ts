import type { Clock, Rng } from "../../src/clock/clock.ts";
import type { Transport } from "../../src/link/transport.ts";
import { encodeConnect } from "../../src/mqtt/connect.ts";
import type { ProtocolVersion } from "../../src/mqtt/protocol.ts";
import { encodeSubscribe } from "../../src/mqtt/subscribe.ts";
import type { Network } from "./network.ts";
import { encodeMessage } from "./packets.ts";

const MAX_VISIT_MS = 400;
/** Known to the daemon from each visit whose session lives on: another session must not inherit it. */
const PACKET_ID = 7;
/** Sessions of MQTT 5 end before their owner comes again, or after. */
const EXPIRY_SECONDS = [0xffff_ffff, 1];

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
    private readonly versions: readonly ProtocolVersion[],
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
    const version = this.versions[Math.floor(this.rng() * this.versions.length)] ?? 4;
    const sessionExpirySeconds = this.clean ? 0 : (EXPIRY_SECONDS[Math.floor(this.rng() * EXPIRY_SECONDS.length)] ?? 0);
    const packets = [
      encodeConnect({ version, bridge: false, clientId: this.id, cleanStart: this.clean, keepAliveSeconds: 0, ...(version === 5 ? { properties: { sessionExpirySeconds } } : {}) }),
    ];
    if (!this.clean) packets.push(encodeSubscribe(version, 1, [{ filter: this.filter, qos: 2 }]), encodeMessage(version, UNFINISHED, PACKET_ID, false));
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

const UNFINISHED = { topic: "visit", payload: "x", qos: 2, retain: false } as const;
