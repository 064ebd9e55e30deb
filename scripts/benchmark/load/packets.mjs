// Packets of a client, and what is looked at in a server's. Versions: 3 is MQTT 3.1, 4 is 3.1.1, 5.

/** A text as it stands in packets. */
export const string = (value) => {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]);
};

/** The packet whose first byte and body these are. */
export function packet(first, body) {
  const header = [first];
  let length = body.length;
  do {
    header.push(length >= 128 ? (length & 127) | 128 : length);
    length >>= 7;
  } while (length > 0);
  return Buffer.concat([Buffer.from(header), body]);
}

const noProperties = (version) => Buffer.from(version === 5 ? [0] : []);

/** With `clean` false the session stays; MQTT 5 then asks for a day. */
export function connectPacket({ version, clientId, clean, user, password }) {
  const flags = 0xc0 | (clean ? 2 : 0);
  const properties = version === 5 && !clean ? Buffer.from([5, 0x11, 0, 1, 0x51, 0x80]) : noProperties(version);
  return packet(0x10, Buffer.concat([string(version === 3 ? "MQIsdp" : "MQTT"), Buffer.from([version, flags, 0, 60]), properties, string(clientId), string(user), string(password)]));
}

/** `filters` go into one packet with the identifier 1. */
export function subscribePacket({ version, filters, qos }) {
  return packet(0x82, Buffer.concat([Buffer.from([0, 1]), noProperties(version), ...filters.flatMap((filter) => [string(filter), Buffer.from([qos])])]));
}

export const disconnectPacket = Buffer.from([0xe0, 0]);

/** Bytes at the beginning of a payload that tell its publisher, its place among that one's messages, and when it was due (ms). */
export const STAMP_BYTES = 16;

/** A PUBLISH packet whose identifier and stamp are filled in later; gives their places. */
export function publishTemplate({ version, topic, qos, retain = false, payloadBytes }) {
  if (payloadBytes < STAMP_BYTES) throw new Error(`a payload has at least ${STAMP_BYTES} bytes`);
  const payload = Buffer.alloc(payloadBytes, 0x61);
  const head = Buffer.concat([string(topic), Buffer.from(qos > 0 ? [0, 0] : []), noProperties(version)]);
  const bytes = packet(0x30 | (qos << 1) | (retain ? 1 : 0), Buffer.concat([head, payload]));
  const stampAt = bytes.length - payloadBytes;
  const topicAt = stampAt - head.length + 2;
  return { bytes, topicAt, idAt: topicAt + Buffer.byteLength(topic), stampAt };
}
