import { copyBytes } from "./copy.ts";
import { PropertyCursor } from "./property-cursor.ts";
import { protocolError } from "./violation.ts";

const PAYLOAD_FORMAT = 0x01;
const MESSAGE_EXPIRY = 0x02;
const SUBSCRIPTION_IDENTIFIER = 0x0b;
const WILL_DELAY = 0x18;
const TOPIC_ALIAS = 0x23;
/** Up to here the room for blocks that are put together is kept. */
const KEPT_SCRATCH_BYTES = 16 * 1024;
const NO_BYTES = Buffer.alloc(0);
export const NO_SUBSCRIPTION_IDS: readonly number[] = Object.freeze([]);

const cursor = new PropertyCursor();

/**
 * The properties of one PUBLISH or will, gone through once: what a server acts upon as fields, what it passes on as one block of bytes.
 * An instance is used again and again; it is valid until the next `read`.
 */
export class MessageProperties {
  /** 0: none. */
  topicAlias = 0;
  /** -1: none. */
  expirySeconds = -1;
  /** 1: the payload is UTF-8; 0: bytes; -1: not said. */
  payloadFormat: -1 | 0 | 1 = -1;
  /** 0 also when there is none. */
  willDelaySeconds = 0;
  /** Only servers send them. */
  subscriptionIds: readonly number[] = NO_SUBSCRIPTION_IDS;
  /**
   * What is passed on as it is, in its order: payload format, content type, response topic, correlation data, user properties.
   * The packet's own bytes where they stand together there, else copied together.
   */
  block: Buffer = NO_BYTES;
  blockStart = 0;
  blockEnd = 0;
  /** Whether there were any. */
  isSet = false;
  private scratch: Buffer = NO_BYTES;

  /** Takes the fields back to "no properties". */
  clear(): void {
    this.isSet = false;
    this.topicAlias = 0;
    this.expirySeconds = -1;
    this.payloadFormat = -1;
    this.willDelaySeconds = 0;
    this.subscriptionIds = NO_SUBSCRIPTION_IDS;
    this.block = NO_BYTES;
    this.blockStart = this.blockEnd = 0;
    if (this.scratch.length > KEPT_SCRATCH_BYTES) this.scratch = NO_BYTES;
  }

  /**
   * Reads the properties whose length stands at `at`; returns the position behind them.
   * @throws ProtocolViolation; the fields are then undefined.
   */
  read(place: "PUBLISH" | "WILL", sender: "client" | "server", bytes: Buffer, at: number, bodyEnd: number): number {
    if (this.isSet) this.clear();
    if (at < bodyEnd && bytes[at] === 0) return at + 1;
    this.isSet = true;
    this.block = bytes;
    cursor.open(place, bytes, at, bodyEnd);
    while (cursor.next()) {
      if (cursor.property.forwarded) this.append();
      this.note(sender);
    }
    return cursor.end;
  }

  private note(sender: "client" | "server"): void {
    switch (cursor.property.id) {
      case PAYLOAD_FORMAT:
        this.payloadFormat = cursor.number as 0 | 1;
        return;
      case TOPIC_ALIAS:
        this.topicAlias = cursor.number;
        return;
      case MESSAGE_EXPIRY:
        this.expirySeconds = cursor.number;
        return;
      case WILL_DELAY:
        this.willDelaySeconds = cursor.number;
        return;
      case SUBSCRIPTION_IDENTIFIER:
        if (sender === "client") throw protocolError("PUBLISH of a client with a Subscription Identifier [MQTT-3.3.4-6]");
        this.subscriptionIds = [...this.subscriptionIds, cursor.number];
    }
  }

  /** Adds the cursor's property to the block: in place while there is no gap, else in the scratch buffer. */
  private append(): void {
    const { bytes, propertyStart, valueEnd } = cursor;
    if (this.blockEnd === 0) this.blockStart = propertyStart;
    else if (this.block !== bytes) {
      this.blockEnd = copyBytes(this.scratch, this.blockEnd, bytes, propertyStart, valueEnd);
      return;
    } else if (this.blockEnd !== propertyStart) {
      // All that can follow lies before the end of the packet's properties, and so fits.
      if (this.scratch.length < cursor.end - this.blockStart) this.scratch = Buffer.allocUnsafeSlow(cursor.end - this.blockStart);
      const length = copyBytes(this.scratch, 0, bytes, this.blockStart, this.blockEnd);
      this.block = this.scratch;
      this.blockStart = 0;
      this.blockEnd = copyBytes(this.scratch, length, bytes, propertyStart, valueEnd);
      return;
    }
    this.blockEnd = valueEnd;
  }
}
