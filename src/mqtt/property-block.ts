import { writePrefixed, type BodyReader } from "./body.ts";
import { remainingLengthSize, writeRemainingLength } from "./frame.ts";
import { NO_PROPERTIES, properties as table, type Properties, type Property, type PropertyPlace, type UserProperty } from "./properties.ts";
import { PropertyCursor } from "./property-cursor.ts";
import { protocolError } from "./violation.ts";

type Value = number | string | Buffer | UserProperty;

const cursor = new PropertyCursor();

/** Reads the properties at `reader`, values copied; for the rare packets. @throws ProtocolViolation */
export function readProperties(reader: BodyReader, place: PropertyPlace): Properties {
  cursor.open(place, reader.bytes, reader.at, reader.end);
  reader.at = cursor.end;
  if (!cursor.next()) return NO_PROPERTIES;
  const fields: Record<string, Value | Value[]> = {};
  do {
    const { property } = cursor;
    const value = readValue(property);
    if (property.repeats === undefined) {
      fields[property.key] = value;
      continue;
    }
    const list = fields[property.key];
    if (Array.isArray(list)) (list as Value[]).push(value);
    else fields[property.key] = [value];
  } while (cursor.next());
  return fields;
}

/** The cursor has checked the value; a field of its type is what the table says it is. */
function readValue(property: Property): Value {
  const { bytes, valueStart, valueEnd } = cursor;
  switch (property.type) {
    case "binary":
      return Buffer.from(bytes.subarray(valueStart + 2, valueEnd));
    case "string":
    case "topic":
      return bytes.toString("utf8", valueStart + 2, valueEnd);
    case "pair": {
      const nameEnd = valueStart + 2 + bytes.readUInt16BE(valueStart);
      return [bytes.toString("utf8", valueStart + 2, nameEnd), bytes.toString("utf8", nameEnd + 2, valueEnd)];
    }
    default:
      return cursor.number;
  }
}

/** Authentication data belongs to a method [MQTT 5.0 section 3.1.2.11.10]. @throws ProtocolViolation */
export function checkAuthentication(place: PropertyPlace, { authenticationMethod, authenticationData }: Properties): void {
  if (authenticationData !== undefined && authenticationMethod === undefined) {
    throw protocolError(`${place} with Authentication Data but no Authentication Method`);
  }
}

/** The block of `properties` as it stands in a packet, its length included, in the order of the table. @throws RangeError above 65535 bytes in a field. */
export function encodeProperties(properties: Properties): Buffer {
  if (properties === NO_PROPERTIES) return NO_BLOCK;
  const parts: Buffer[] = [];
  for (const property of table as readonly Property[]) {
    const value = properties[property.key as keyof Properties] as Value | readonly Value[] | undefined;
    if (value === undefined) continue;
    if (property.repeats === undefined) parts.push(encodeProperty(property, value as Value));
    else for (const one of value as readonly Value[]) parts.push(encodeProperty(property, one));
  }
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const prefix = Buffer.alloc(remainingLengthSize(length));
  writeRemainingLength(prefix, 0, length);
  return Buffer.concat([prefix, ...parts]);
}

function encodeProperty({ id, type }: Property, value: Value): Buffer {
  const bytes = Buffer.alloc(1 + sizeOf(type, value));
  bytes[0] = id;
  switch (type) {
    case "bit":
      bytes[1] = value as number;
      break;
    case "uint16":
      bytes.writeUInt16BE(value as number, 1);
      break;
    case "uint32":
      bytes.writeUInt32BE(value as number, 1);
      break;
    case "varint":
      writeRemainingLength(bytes, 1, value as number);
      break;
    case "pair": {
      const [name, text] = value as UserProperty;
      writePrefixed(bytes, writePrefixed(bytes, 1, Buffer.from(name)), Buffer.from(text));
      break;
    }
    default:
      writePrefixed(bytes, 1, Buffer.from(value as string | Buffer));
  }
  return bytes;
}

function sizeOf(type: Property["type"], value: Value): number {
  switch (type) {
    case "bit":
      return 1;
    case "uint16":
      return 2;
    case "uint32":
      return 4;
    case "varint":
      return remainingLengthSize(value as number);
    case "pair":
      return (value as UserProperty).reduce((sum, text) => sum + 2 + Buffer.byteLength(text), 0);
    default:
      return 2 + Buffer.byteLength(value as string | Buffer);
  }
}

/** No properties: the length 0. Shared, as are packets without a body. */
const NO_BLOCK = Buffer.from([0]);
