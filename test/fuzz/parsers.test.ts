import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Writable } from "node:stream";
import { afterAll, describe, expect } from "vitest";
import { Access } from "../../src/access/access.ts";
import { parseAclFile } from "../../src/access/acl-file.ts";
import { parsePasswordFile } from "../../src/access/password-file.ts";
import { checkConfig } from "../../src/config/checker.ts";
import type { Keyword } from "../../src/config/keyword.ts";
import { connectionKeywords } from "../../src/config/keywords/connection.ts";
import { globalKeywords } from "../../src/config/keywords/global.ts";
import { listenerKeywords } from "../../src/config/keywords/listener.ts";
import { parseAddedConnection } from "../../src/config/added-connection.ts";
import { parseConfig } from "../../src/config/parser.ts";
import { CommandError, type Administration } from "../../src/control/administration.ts";
import { commands, runCommands } from "../../src/control/commands.ts";
import { FrameReader } from "../../src/link/frames.ts";
import { CLOSE, FrameError, OPCODE, WebSocketFrames } from "../../src/link/websocket-frames.ts";
import { decodeAck } from "../../src/mqtt/acks.ts";
import { decodeConnack } from "../../src/mqtt/connack.ts";
import { decodeConnect, UnsupportedVersion } from "../../src/mqtt/connect.ts";
import { decodeAuth, decodeDisconnect } from "../../src/mqtt/disconnect.ts";
import { checkEmpty } from "../../src/mqtt/empty.ts";
import { PacketType, type ProtocolVersion } from "../../src/mqtt/protocol.ts";
import { decodePublish, PublishView } from "../../src/mqtt/publish.ts";
import { decodeSuback, decodeSubscribe } from "../../src/mqtt/subscribe.ts";
import { decodeUnsuback, decodeUnsubscribe } from "../../src/mqtt/unsubscribe.ts";
import { ProtocolViolation } from "../../src/mqtt/violation.ts";
import { frame } from "../scenario/web-clients.ts";
import { bytesOf } from "../vectors/notation.ts";
import { packets } from "../vectors/packets.ts";
import { packets5 } from "../vectors/packets5.ts";
import { below, fuzz, pick, type Rng } from "./budget.ts";
import { mutateBytes, mutateText, pieces } from "./mutation.ts";

const { Receiver } = createRequire(import.meta.url)("ws") as { readonly Receiver: new (options: object) => Writable };

const MAX_PACKET_BYTES = 1 << 20;
/** One input; far more than any takes, on a machine that does other work too. */
const MAX_MS = 1_000;

const corpus: readonly Buffer[] = [...packets, ...packets5].map(({ bytes }) => bytesOf(bytes));

/** Fails if the input took too long: a parser that is quadratic. */
function timed<T>(input: string | Buffer, task: () => T): T {
  const begun = performance.now();
  const result = task();
  const ms = performance.now() - begun;
  if (ms > MAX_MS) throw new Error(`${Math.round(ms)} ms for ${input.length} bytes`);
  return result;
}

const senders = ["client", "server"] as const;

/** What a packet means, as text; a violation by its name. Throws what may not be thrown. */
function meaningOf(version: ProtocolVersion, sender: "client" | "server", first: number, bytes: Buffer, start: number, end: number): string {
  try {
    return JSON.stringify(decoded(version, sender, first, bytes, start, end), (_key, value: unknown) => (value instanceof Map ? [...value] : value));
  } catch (error) {
    if (error instanceof ProtocolViolation || error instanceof UnsupportedVersion) return `${error.name} ${error.message}`;
    throw error;
  }
}

function decoded(version: ProtocolVersion, sender: "client" | "server", first: number, bytes: Buffer, start: number, end: number): unknown {
  switch (first >> 4) {
    case PacketType.CONNECT: return decodeConnect(first, bytes, start, end);
    case PacketType.CONNACK: return decodeConnack(version, first, bytes, start, end);
    case PacketType.PUBLISH: {
      const view = new PublishView(sender);
      decodePublish(view, version, first, bytes, start, end);
      const { qos, retain, dup, packetId, topicStart, topicEnd, payloadStart, payloadEnd } = view;
      for (const at of [topicStart, topicEnd, payloadStart, payloadEnd]) if (at < start || at > end) throw new Error("a field outside its packet");
      return { qos, retain, dup, packetId, topic: topicEnd - topicStart, payload: payloadEnd - payloadStart };
    }
    case PacketType.SUBSCRIBE: return decodeSubscribe(version, first, bytes, start, end);
    case PacketType.SUBACK: return decodeSuback(version, first, bytes, start, end);
    case PacketType.UNSUBSCRIBE: return decodeUnsubscribe(version, first, bytes, start, end);
    case PacketType.UNSUBACK: return decodeUnsuback(version, first, bytes, start, end);
    case PacketType.PINGREQ:
    case PacketType.PINGRESP: return checkEmpty(version, first, start, end);
    case PacketType.DISCONNECT: return decodeDisconnect(version, sender, first, bytes, start, end);
    case PacketType.AUTH: return decodeAuth(first, bytes, start, end);
    default: return decodeAck(version, first, bytes, start, end);
  }
}

/** What a reader makes of bytes that come in pieces. */
function framesOf(chunks: Iterable<Buffer>): string[] {
  const frames: string[] = [];
  const onFrame = (first: number, bytes: Buffer, start: number, bodyStart: number, bodyEnd: number): boolean => {
    frames.push(`${first} ${bytes.toString("hex", start, bodyEnd)} ${bodyStart - start}`);
    return true;
  };
  const reader = new FrameReader({ onFrame }, MAX_PACKET_BYTES);
  try {
    for (const chunk of chunks) expect(reader.read(chunk)).toBe(chunk.length);
  } catch (error) {
    if (!(error instanceof ProtocolViolation)) throw error;
    return [...frames, `violation ${error.message}`];
  }
  expect(reader.partialBytes).toBeLessThanOrEqual(MAX_PACKET_BYTES);
  return frames;
}

describe("fuzzed", () => {
  const rejections: unknown[] = [];
  const onRejection = (reason: unknown): void => void rejections.push(reason);
  process.on("unhandledRejection", onRejection);
  afterAll(() => {
    process.off("unhandledRejection", onRejection);
    expect(rejections).toEqual([]);
  });

  fuzz("packets: a typed error or a meaning, the same whatever lies around them", 0.12, (rng) => {
    const packet = mutateBytes(rng, pick(rng, corpus), corpus);
    if (packet.length < 2) return;
    const headBytes = 1 + below(rng, 3);
    const around = [0x00, 0xff].map((filling) => Buffer.concat([Buffer.alloc(5, filling), packet, Buffer.alloc(5, filling)]));
    for (const version of [3, 4, 5] as const) {
      for (const sender of senders) {
        const meanings = around.map((bytes) => timed(packet, () => meaningOf(version, sender, packet[0] ?? 0, bytes, 5 + Math.min(headBytes, packet.length), 5 + packet.length)));
        if (meanings[0] !== meanings[1]) throw new Error(`${packet.toString("hex")} means ${meanings.join(" or ")}`);
      }
    }
  });

  fuzz("streams: the same packets, however they are cut", 0.08, (rng) => {
    const stream = Buffer.concat(Array.from({ length: 1 + below(rng, 6) }, () => (rng() < 0.7 ? pick(rng, corpus) : mutateBytes(rng, pick(rng, corpus), corpus))));
    const whole = framesOf([stream]);
    const inPieces = framesOf(pieces(rng, stream));
    if (whole.join("\n") !== inPieces.join("\n")) throw new Error(`${stream.toString("hex")}\n${whole.join("\n")}\nin pieces\n${inPieces.join("\n")}`);
  });

  fuzz("WebSocket frames: the data that the receiver of `ws` takes, and what it refuses", 0.1, compareWithWs);

  const keywords: readonly Keyword[] = [...globalKeywords, ...listenerKeywords, ...connectionKeywords];
  const language = ["listener", "connection", "topic", ...keywords.flatMap(({ name, aliases }) => [name, ...aliases])];
  const example = readFileSync("amqtdd.cfg.example", "utf8");

  fuzz("configurations: problems with a place, never an exception, and the same twice", 0.1, (rng) => {
    const text = mutateText(rng, rng() < 0.5 ? example : randomConfig(rng, language), language);
    const read = (): string => {
      const { config, problems } = parseConfig(text, "f", { lenient: rng() < 0.5 });
      const all = problems.some(({ severity }) => severity === "error") ? problems : [...problems, ...checkConfig(config)];
      for (const { line, column, message } of all) if (!(line >= 0 && line <= text.split("\n").length && column >= 1 && message !== "")) throw new Error(`a problem at ${line}:${column}: ${message}`);
      return "";
    };
    timed(text, read);
    timed(text, () => parseAddedConnection(text, { listeners: [], connections: [] }));
  });

  const acl = "# who\ntopic read public/#\ntopic write in/+/x\npattern readwrite own/%c/%u/#\nuser fred\ntopic deny fred/secret\ntopic fred/#\nconnection up\ntopic readwrite s/#\n";
  const aclWords = ["topic", "pattern", "user", "connection", "read", "write", "readwrite", "deny", "fred", "%c", "%u", "#", "+/#"];

  fuzz("ACL files: problems or rules, and whoever is denied stays so", 0.06, (rng) => {
    const text = mutateText(rng, acl, aclWords);
    timed(text, () => {
      const { acl: parsed, problems } = parseAclFile(text, { isUser: (name) => name === "fred" });
      for (const { line } of problems) if (!(line >= 1 && line <= text.split("\n").length)) throw new Error(`a problem in line ${line}`);
      const access = new Access({ passwords: undefined, allowAnonymous: true, clientIdPrefixes: [], acl: parsed }, () => Promise.resolve(false));
      for (const id of ["c", "#", "+", "a/b", ""]) {
        const rights = access.rightsOf({ kind: "client", id, user: rng() < 0.5 ? "fred" : undefined });
        for (const topic of ["a", "own/c/fred/x", "own/x/y/z", "", "$SYS/x", "/".repeat(100)]) {
          const [may, again] = [rights?.mayWrite(topic), rights?.mayWrite(topic)];
          if (may !== again) throw new Error(`${topic}: ${String(may)}, then ${String(again)}`);
        }
        for (const filter of ["#", "+/+", "own/#", ""]) rights?.maySubscribe(filter);
      }
    });
  });

  const passwords = "fred:clear\nmary:$7$101$AAAA$" + "A".repeat(86) + "==\n# x\njoe:$6$AAAA$" + "A".repeat(86) + "==\nann:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA\n";

  fuzz("password files: an error, or users with names and passwords", 0.04, (rng) => {
    const text = mutateText(rng, passwords, ["fred:", ":x", "$7$", "$6$", "::", "$7$0$AAAA$AAAA", "$7$1e3$AAAA$AAAA"]);
    timed(text, () => {
      const { passwords: users, problems } = parsePasswordFile(text);
      const lines = text.split("\n").filter((line) => line.trim() !== "" && !line.startsWith("#") && !line.startsWith("\ufeff#"));
      if (users.size + problems.length < Math.min(1, lines.length)) throw new Error("lines that are neither a user nor a problem");
      for (const [name, stored] of users) if (name === "" || stored.text === "") throw new Error("an empty user or password");
    });
  });

  fuzz("command files: an outcome for each command, and no internal error", 0.06, async (rng) => {
    const words = commands.flatMap(({ name, aliases }) => [name, ...aliases]).concat("connection", ...language);
    const text = mutateText(rng, "status\nconnection c\naddress h:1\ntopic a out\nstart_connection c\nparked c list\nlog_level info\ntrace_dump /nowhere/x\nclear_retained #\n", words);
    const outcomes = await runCommands(text, administration(rng));
    for (const { line, command, text: answer } of outcomes) {
      if (line < 1 || line > text.split("\n").length || answer.startsWith("internal error")) throw new Error(`${line}: ${command}: ${answer}`);
    }
  });
});

/** `ws` hands on whole messages, ours what has come of them. What stands in a close frame is judged at another place. */
async function compareWithWs(rng: Rng): Promise<void> {
  const messages = Array.from({ length: 1 + below(rng, 6) }, () => {
    const payload = Buffer.alloc(rng() < 0.05 ? 70_000 : pick(rng, [0, 1, 5, 125, 126, 300]), below(rng, 256));
    if (rng() < 0.2) return frame(payload.subarray(0, 125), { opcode: pick(rng, [OPCODE.ping, OPCODE.pong, OPCODE.close]) });
    return frame(payload, { opcode: rng() < 0.8 ? OPCODE.binary : OPCODE.continuation, isFinal: rng() < 0.7 });
  });
  const sent = rng() < 0.6 ? mutateBytes(rng, Buffer.concat(messages), messages) : Buffer.concat(messages);
  const stream = Buffer.concat([sent, frame("the rest of a header", { opcode: OPCODE.ping })]);
  const ours = oursOf([...pieces(rng, Buffer.from(stream))]);
  const theirs = await theirsOf(stream);
  const agree = ours.failed === theirs.failed || ours.closed || ours.isText;
  if (!agree || !ours.data.subarray(0, theirs.data.length).equals(theirs.data)) {
    throw new Error(`${stream.toString("hex").slice(0, 400)}: ${JSON.stringify([ours, theirs].map(({ data, ...rest }) => ({ bytes: data.length, ...rest })))}`);
  }
}

interface Received {
  data: Buffer;
  failed: boolean;
  closed: boolean;
  isText: boolean;
}

function oursOf(chunks: readonly Buffer[]): Received {
  const parts: Buffer[] = [];
  const result = { failed: false, closed: false, isText: false };
  const frames = new WebSocketFrames({
    onData: (bytes, end) => void parts.push(Buffer.from(bytes.subarray(0, end))),
    onControl: (opcode) => {
      if (opcode === 8) result.closed = true;
      return opcode !== 8;
    },
  });
  try {
    for (const chunk of chunks) {
      // They lie anywhere in a buffer, before what an earlier read has left there.
      frames.read(Buffer.concat([Buffer.alloc(3), chunk, frame(Buffer.from("left over"))]).subarray(3), chunk.length);
      if (result.closed) break;
    }
  } catch (error) {
    if (!(error instanceof FrameError)) throw error;
    result.failed = true;
    result.isText = error.closeCode === CLOSE.unsupportedData;
  }
  return { data: Buffer.concat(parts), ...result };
}

async function theirsOf(stream: Buffer): Promise<Received> {
  const parts: Buffer[] = [];
  const result = { failed: false, closed: false, isText: false };
  const receiver = new Receiver({ isServer: true, skipUTF8Validation: true });
  receiver.on("error", () => (result.failed = true));
  // MQTT ends a connection with its first frame of text [MQTT-6.0.0-1]: what comes behind a text message is nothing to compare.
  receiver.on("message", (bytes: Buffer, isBinary: boolean) => {
    if (!isBinary) result.isText = true;
    else if (!result.isText) parts.push(bytes);
  });
  receiver.on("conclude", () => (result.closed = true));
  receiver.write(Buffer.from(stream));
  await new Promise((resolve) => setImmediate(resolve)); // an error is told later
  return { data: Buffer.concat(parts), ...result };
}

function randomConfig(rng: Rng, language: readonly string[]): string {
  const values = ["1", "0", "-1", "true", "false", "a/#", "127.0.0.1", "x:1883", "in", "out", "both", "websockets", "auto", "/dev/null", "10s", "2w"];
  return Array.from({ length: below(rng, 40) }, () => `${pick(rng, language)} ${pick(rng, values)} ${rng() < 0.3 ? pick(rng, values) : ""}`).join("\n");
}

/** Takes every command that is well formed. */
function administration(rng: Rng): Administration {
  return new Proxy({} as Administration, {
    get: () => () => {
      if (rng() < 0.2) throw new CommandError("no");
      return "done";
    },
  });
}
