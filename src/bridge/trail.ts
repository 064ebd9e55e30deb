import type { Rng } from "../clock/clock.ts";
import { BRIDGE_MARK } from "../mqtt/connect.ts";
import type { UserProperty } from "../mqtt/properties.ts";
import { encodeProperties } from "../mqtt/property-block.ts";

/**
 * The loop guard across brokers, under MQTT 5: what goes out by a connection carries the identifier of this daemon, brokers pass it on
 * [MQTT-3.3.2-17], and what comes in with it has gone round. The identifier is new with each start: what was on its way then goes round once more.
 */
export class Trail {
  /** As it stands among the properties of a packet. */
  private ownBytes: Buffer | undefined;
  private ownMark: UserProperty | undefined;
  private scratch = Buffer.alloc(0);

  constructor(private readonly rng: Rng) {}

  /** Also shown in CONNECT: so another daemon knows us for a bridge. Made when it is asked for first. */
  get mark(): UserProperty {
    this.ownMark ??= [BRIDGE_MARK, Math.floor(this.rng() * 2 ** 32).toString(16).padStart(8, "0")];
    return this.ownMark;
  }

  private get bytes(): Buffer {
    this.ownBytes ??= encodeProperties({ userProperties: [this.mark] }).subarray(1);
    return this.ownBytes;
  }

  /** Whether a message with these properties has gone out from here. */
  isOn(block: Buffer, start: number, end: number): boolean {
    return this.ownBytes !== undefined && end > start && block.subarray(start, end).includes(this.ownBytes);
  }

  /** The properties with our mark behind them; valid until the next call. */
  markedBlock(block: Buffer, start: number, end: number): Buffer {
    if (start === end) return this.bytes;
    const length = end - start + this.bytes.length;
    if (this.scratch.length < length || this.scratch.length > MAX_KEPT_BYTES) this.scratch = Buffer.allocUnsafeSlow(length);
    block.copy(this.scratch, 0, start, end);
    this.bytes.copy(this.scratch, end - start);
    return this.scratch.subarray(0, length);
  }
}

const MAX_KEPT_BYTES = 16 * 1024;
