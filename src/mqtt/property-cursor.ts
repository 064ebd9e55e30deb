import { readShortestLength, remainingLengthSize } from "./frame.ts";
import { placeBit, propertyRules, type Property, type PropertyPlace, type PropertyRule } from "./properties.ts";
import { Reason } from "./reason.ts";
import { isValidTopicName } from "./topic-name.ts";
import { isValidUtf8 } from "./utf8.ts";
import { malformed, ProtocolViolation, protocolError } from "./violation.ts";

/** Properties of one packet: so many and so large are taken, whatever the packet's own limit allows. */
export const MAX_PROPERTIES = 10_000;
export const MAX_PROPERTY_BYTES = 256 * 1024;

/**
 * Goes through the properties of one packet, one by one, each checked against the table before it is shown. An instance is used
 * again and again, so it costs nothing on the hot path.
 */
export class PropertyCursor {
  bytes: Buffer = NO_BYTES;
  /** The present property: its identifier's position, its value's, and the end of both. */
  propertyStart = 0;
  valueStart = 0;
  valueEnd = 0;
  /** End of all properties. */
  end = 0;
  private rule: PropertyRule | undefined;
  private place: PropertyPlace = "PUBLISH";
  private placeBit = 0;
  private seen = 0;
  private count = 0;

  /** The present property. */
  get property(): Property {
    return (this.rule as PropertyRule).property; // only asked for after `next` was true
  }

  /** Goes to the properties whose length stands at `at`. @throws ProtocolViolation if they do not fit before `bodyEnd`. */
  open(place: PropertyPlace, bytes: Buffer, at: number, bodyEnd: number): void {
    const length = readShortestLength(bytes, at, bodyEnd);
    if (length < 0) throw malformed(`${place} is cut off in its property length`);
    const start = at + remainingLengthSize(length);
    if (start + length > bodyEnd) throw malformed(`${place} is cut off in its properties`);
    if (length > MAX_PROPERTY_BYTES) throw tooMany(`${place} with ${length} bytes of properties, the limit is ${MAX_PROPERTY_BYTES}`);
    this.bytes = bytes;
    this.valueEnd = start;
    this.end = start + length;
    this.place = place;
    this.placeBit = placeBit(place);
    this.seen = 0;
    this.count = 0;
  }

  /** Goes to the next property; false when there is none. @throws ProtocolViolation */
  next(): boolean {
    const { bytes, valueEnd: at } = this;
    if (at >= this.end) return false;
    const id = bytes[at] as number; // a varint, but all identifiers are below 128
    const rule = propertyRules[id];
    // [MQTT 5.0 section 2.2.2.2]: an identifier that is not valid for its packet makes it malformed.
    if (rule === undefined) throw malformed(`${this.place} with the unknown property ${id}`);
    if ((rule.places & this.placeBit) === 0) throw malformed(`${this.place} with ${rule.property.name}, which does not belong there`);
    if ((this.seen & rule.bit) !== 0 && (rule.repeats & this.placeBit) === 0) {
      throw protocolError(`${this.place} with more than one ${rule.property.name}`);
    }
    this.count += 1;
    if (this.count > MAX_PROPERTIES) throw tooMany(`${this.place} with more than ${MAX_PROPERTIES} properties`);
    this.seen |= rule.bit;
    this.rule = rule;
    this.propertyStart = at;
    this.valueStart = at + 1;
    this.valueEnd = this.checkedEnd(rule.property, at + 1);
    return true;
  }

  /** The present value, of a numeric type. */
  get number(): number {
    const { bytes, valueStart } = this;
    switch (this.property.type) {
      case "bit":
        return bytes[valueStart] as number;
      case "uint16":
        return bytes.readUInt16BE(valueStart);
      case "uint32":
        return bytes.readUInt32BE(valueStart);
      default:
        return readShortestLength(bytes, valueStart, this.valueEnd);
    }
  }

  /** Where the value that begins at `at` ends. @throws ProtocolViolation if it is none of its type. */
  private checkedEnd(property: Property, at: number): number {
    const { bytes } = this;
    switch (property.type) {
      case "bit":
        this.need(property, at, 1);
        if ((bytes[at] as number) > 1) throw protocolError(`${this.place} with ${property.name} ${bytes[at]}`);
        return at + 1;
      case "uint16":
        this.need(property, at, 2);
        if (property.nonZero && bytes.readUInt16BE(at) === 0) throw zero(this.place, property);
        return at + 2;
      case "uint32":
        this.need(property, at, 4);
        if (property.nonZero && bytes.readUInt32BE(at) === 0) throw zero(this.place, property);
        return at + 4;
      case "varint": {
        const value = readShortestLength(bytes, at, this.end);
        if (value < 0) throw malformed(`${this.place} is cut off in ${property.name}`);
        if (property.nonZero && value === 0) throw zero(this.place, property);
        return at + remainingLengthSize(value);
      }
      case "binary":
        return this.prefixedEnd(property, at);
      case "string":
        return this.stringEnd(property, at);
      case "topic": {
        const end = this.stringEnd(property, at);
        // [MQTT-3.3.2-14] [MQTT-4.7.3-1]
        if (!isValidTopicName(bytes, at + 2, end)) throw protocolError(`${this.place} with a ${property.name} that names no topic`);
        return end;
      }
      case "pair":
        return this.stringEnd(property, this.stringEnd(property, at));
    }
  }

  private prefixedEnd(property: Property, at: number): number {
    this.need(property, at, 2);
    const length = this.bytes.readUInt16BE(at);
    this.need(property, at + 2, length);
    return at + 2 + length;
  }

  private stringEnd(property: Property, at: number): number {
    const end = this.prefixedEnd(property, at);
    if (!isValidUtf8(this.bytes, at + 2, end)) throw malformed(`${property.name} is not valid UTF-8 [MQTT-1.5.4-1]`);
    return end;
  }

  private need(property: Property, at: number, count: number): void {
    if (at + count > this.end) throw malformed(`${this.place} is cut off in ${property.name}`);
  }
}

function zero(place: PropertyPlace, property: Property): ProtocolViolation {
  const reason = property.key === "topicAlias" ? Reason.TopicAliasInvalid : Reason.ProtocolError; // [MQTT-3.3.2-8]
  return new ProtocolViolation(reason, `${place} with ${property.name} 0`);
}

function tooMany(message: string): ProtocolViolation {
  return new ProtocolViolation(Reason.QuotaExceeded, message);
}

const NO_BYTES = Buffer.alloc(0);
