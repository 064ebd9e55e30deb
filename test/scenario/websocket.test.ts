import { spawnSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect311, mqttString, packet, type TestClient } from "./clients.ts";
import { DaemonProcess, freePorts } from "./daemon.ts";
import { makePacket, publishPacket, readPublish } from "./packets.ts";
import { frame, OPCODE, RawConnection, RawWebSocket, upgradeRequest, type UpgradeOptions } from "./web-clients.ts";

let daemon: DaemonProcess;
let plainPort: number;
let webPort: number;
let eitherPort: number;
let originPort: number;
let witness: TestClient;

beforeAll(async () => {
  [plainPort = 0, webPort = 0, eitherPort = 0, originPort = 0] = await freePorts(4);
  daemon = await DaemonProcess.start(`
listener ${plainPort} 127.0.0.1
listener ${webPort} 127.0.0.1
protocol websockets
listener ${eitherPort} 127.0.0.1 auto
listener ${originPort} 127.0.0.1
protocol websockets
websockets_origin https://page.example example.org:8080
`);
  witness = await connect311(plainPort, { clientId: "witness" });
  await witness.subscribe("web/#", 1);
});

afterAll(async () => {
  await witness?.end();
  await daemon?.cleanup();
});

const connectHex = (clientId: string, keepAlive = 60): string =>
  packet(0x10, Buffer.concat([mqttString("MQTT"), Buffer.from([4, 2, keepAlive >> 8, keepAlive & 255]), mqttString(clientId)]));
const CONNACK = "20020000";
const PINGREQ = "c000";
const PINGRESP = "d000";

async function withSocket(use: (socket: RawWebSocket) => Promise<void>, clientId?: string): Promise<void> {
  const socket = await RawWebSocket.open(webPort);
  try {
    if (clientId !== undefined) {
      socket.send(connectHex(clientId));
      expect(await socket.packet()).toBe(CONNACK);
    }
    await use(socket);
  } finally {
    socket.destroy();
  }
}

async function othersAreServed(mark: string): Promise<void> {
  await witness.publish("web/witness", mark, { qos: 1 });
  await witness.waitFor("web/witness", mark);
}

describe("the opening handshake (RFC 6455, section 4.2)", () => {
  async function answerTo(request: string, port = webPort): ReturnType<RawConnection["answer"]> {
    const connection = await RawConnection.dial(port);
    try {
      connection.write(request);
      const answer = await connection.answer();
      if (answer.status !== 101) await connection.closed();
      return answer;
    } finally {
      connection.destroy();
    }
  }

  it("gives the accept value of section 1.3 and the subprotocol mqtt [MQTT-6.0.0-4], and no extension", async () => {
    const { status, headers } = await answerTo(upgradeRequest({ headers: { "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits" } }));
    expect(status).toBe(101);
    expect(headers.get("sec-websocket-accept")).toBe("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    expect(headers.get("sec-websocket-protocol")).toBe("mqtt");
    expect(headers.has("sec-websocket-extensions")).toBe(false);
  });

  it.each([
    ["mqttv3.1", "mqttv3.1"],
    ["mqttv3.1, mqtt", "mqttv3.1"],
    ["chat, mqtt", "mqtt"],
  ])("to an offer of %s answers %s", async (offered, chosen) => {
    const { status, headers } = await answerTo(upgradeRequest({ subprotocol: offered }));
    expect([status, headers.get("sec-websocket-protocol")]).toEqual([101, chosen]);
  });

  it.each<readonly [string, number, UpgradeOptions]>([
    ["no subprotocol [MQTT-6.0.0-3]", 400, { subprotocol: undefined }],
    ["another subprotocol", 400, { subprotocol: "chat" }],
    ["a subprotocol that only begins alike", 400, { subprotocol: "mqtt5" }],
    ["a list of subprotocols that is none", 400, { subprotocol: "mqtt,,chat" }],
    ["no key", 400, { headers: { "Sec-WebSocket-Key": "" } }],
    ["a key of another length", 400, { headers: { "Sec-WebSocket-Key": "AAAA" } }],
    ["another version", 426, { headers: { "Sec-WebSocket-Version": "12" } }],
    ["another upgrade", 400, { headers: { Upgrade: "h2c" } }],
    ["a body, which would be read as frames", 413, { headers: { "Content-Length": "5" } }],
    ["a body in chunks", 413, { headers: { "Transfer-Encoding": "chunked" } }],
  ])("refuses %s with %i", async (_name, status, options) => {
    expect((await answerTo(upgradeRequest(options))).status).toBe(status);
  });

  it("refuses HTTP/1.0 with 400", async () => {
    expect((await answerTo(upgradeRequest().replace("HTTP/1.1", "HTTP/1.0"))).status).toBe(400);
  });

  it("answers what is no upgrade with 426 where no folder is served", async () => {
    const { status, headers } = await answerTo("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    expect([status, headers.get("upgrade")]).toEqual([426, "websocket"]);
  });

  it("answers what is no HTTP with 400", async () => {
    expect((await answerTo(`${"\u0010\u000c"}\r\n\r\n`)).status).toBe(400);
  });

  it("refuses a head longer than websockets_headers_size", async () => {
    expect((await answerTo(upgradeRequest({ headers: { Cookie: "x".repeat(9_000) } }))).status).toBe(431);
    expect((await answerTo(upgradeRequest({ headers: { Cookie: "x".repeat(7_000) } }))).status).toBe(101);
  });

  it.each([
    ["https://page.example", 101],
    ["HTTPS://PAGE.example", 101],
    ["http://example.org:8080", 101],
    ["http://page.example", 403],
    ["https://page.example.evil.example", 403],
    ["http://evil-example.org:8080", 403],
    ["null", 403],
    ["", 403],
  ])("with websockets_origin lets Origin %j in or not: %i", async (origin, status) => {
    expect((await answerTo(upgradeRequest({ headers: { Origin: origin } }), originPort)).status).toBe(status);
  });
});

describe("frames are a byte stream [MQTT-6.0.0-2]", () => {
  it("takes several packets in one frame, and answers in binary frames", () =>
    withSocket(async (socket) => {
      socket.send(connectHex("several"), PINGREQ, PINGREQ);
      expect([await socket.packet(), await socket.packet(), await socket.packet()]).toEqual([CONNACK, PINGRESP, PINGRESP]);
      expect([...socket.opcodes]).toEqual([OPCODE.binary]);
    }));

  it("takes a packet in a frame for each byte", () =>
    withSocket(async (socket) => {
      for (const byte of Buffer.from(connectHex("bytes") + PINGREQ, "hex")) socket.write(frame(Buffer.from([byte])));
      expect([await socket.packet(), await socket.packet()]).toEqual([CONNACK, PINGRESP]);
    }));

  it("takes frames whose bytes come one by one, with empty frames between", () =>
    withSocket(async (socket) => {
      const bytes = Buffer.concat([frame(""), frame(Buffer.from(connectHex("drops"), "hex")), frame(""), frame(Buffer.from(PINGREQ, "hex"))]);
      for (const byte of bytes) socket.write(Buffer.from([byte]));
      expect([await socket.packet(), await socket.packet()]).toEqual([CONNACK, PINGRESP]);
    }));

  it("takes a fragmented message with a ping inside, which is answered", () =>
    withSocket(async (socket) => {
      const bytes = Buffer.from(publishPacket("web/fragments", "x".repeat(70_000), { qos: 1, id: 7 }));
      const thirds = [bytes.subarray(0, 10), bytes.subarray(10, 66_000), bytes.subarray(66_000)] as const;
      socket.write(frame(thirds[0], { isFinal: false }));
      socket.write(frame("are you there", { opcode: OPCODE.ping }));
      socket.write(frame(thirds[1], { opcode: OPCODE.continuation, isFinal: false }));
      socket.write(frame(thirds[2], { opcode: OPCODE.continuation }));
      expect(await socket.packet()).toBe("40020007");
      expect(socket.control).toEqual([`0a${Buffer.from("are you there").toString("hex")}`]);
      await witness.waitFor("web/fragments", "x".repeat(70_000));
    }, "fragments"));

  it("takes and sends a message near max_packet_size", () =>
    withSocket(async (socket) => {
      const payload = "y".repeat(1_000_000);
      socket.send(makePacket(0x82, Buffer.from([0, 1]), mqttString("web/large"), Buffer.from([1])).toString("hex"));
      expect(await socket.packet()).toBe("9003000101");
      socket.write(frame(publishPacket("web/large", payload, { qos: 1, id: 9 })));
      const packets = [await socket.packet(), await socket.packet()];
      expect(packets).toContain("40020009");
      const publish = packets.find((hex) => hex.startsWith("32")) ?? "";
      expect(readPublish(Buffer.from(publish, "hex")).payload).toBe(payload);
    }, "large"));

  it("waits for the rest of a packet that is announced longer than its frame", () =>
    withSocket(async (socket) => {
      const bytes = publishPacket("web/short-frame", "the rest", { qos: 1, id: 3 });
      socket.write(frame(bytes.subarray(0, 6)));
      socket.write(frame("", { opcode: OPCODE.ping }));
      expect(await socket.controlFrame()).toBe("0a");
      socket.write(frame(bytes.subarray(6)));
      expect(await socket.packet()).toBe("40020003");
    }, "short-frame"));
});

describe("closes only the connection that sends", () => {
  const PUBLISH = publishPacket("web/never", "x");
  it.each<readonly [string, Buffer, code: string]>([
    ["a text frame [MQTT-6.0.0-1]", frame(PUBLISH, { opcode: OPCODE.text }), "03eb"],
    ["a frame that is not masked", frame(PUBLISH, { isMasked: false }), "03ea"],
    ["a reserved bit: compression that was not agreed on", frame(PUBLISH, { rsv: 0x40 }), "03ea"],
    ["another reserved bit", frame(PUBLISH, { rsv: 0x10 }), "03ea"],
    ["a reserved opcode", frame(PUBLISH, { opcode: 3 }), "03ea"],
    ["a continuation of nothing", frame(PUBLISH, { opcode: OPCODE.continuation }), "03ea"],
    ["a new message within a fragmented one", Buffer.concat([frame(PUBLISH.subarray(0, 3), { isFinal: false }), frame(PUBLISH)]), "03ea"],
    ["a fragmented ping", frame("x", { opcode: OPCODE.ping, isFinal: false }), "03ea"],
    ["a ping that is too long", frame("x".repeat(126), { opcode: OPCODE.ping }), "03ea"],
    ["a close frame of one byte", frame("x", { opcode: OPCODE.close }), "03ea"],
    ["a close code that is reserved", frame(Buffer.from([0x03, 0xec]), { opcode: OPCODE.close }), "03ea"],
    ["a length beyond 2^53", frame("", { length: 2 ** 60 }), "03f1"],
    ["a reason for closing that is not UTF-8", frame(Buffer.from([0x03, 0xe8, 0xc3, 0x28]), { opcode: OPCODE.close }), "03ef"],
  ])("%s", async (name, bytes, code) => {
    await withSocket(async (socket) => {
      socket.write(bytes);
      expect((await socket.controlFrame()).slice(0, 6)).toBe(`08${code}`);
      socket.write(frame(Buffer.from(code, "hex"), { opcode: OPCODE.close }));
      await socket.closed();
    }, "offender");
    await othersAreServed(name);
    expect(witness.messages.some(({ topic }) => topic === "web/never")).toBe(false);
  });

  it("malformed MQTT, with a close frame", async () => {
    await withSocket(async (socket) => {
      socket.send("0000");
      expect(await socket.controlFrame()).toMatch(/^08/);
      socket.write(frame(Buffer.from([0x03, 0xe8]), { opcode: OPCODE.close }));
      await socket.closed();
    }, "malformed");
    await daemon.waitForLine(/CWNAN0019W.*malformed/);
    await othersAreServed("malformed");
  });
});

it("answers a close frame with a close frame and ends the connection (RFC 6455, section 5.5.1)", () =>
  withSocket(async (socket) => {
    socket.write(frame(Buffer.concat([Buffer.from([0x03, 0xe8]), Buffer.from("bye")]), { opcode: OPCODE.close }));
    expect(await socket.controlFrame()).toBe("0803e8");
    await socket.closed();
  }, "leaving"));

it("publishes the will of a WebSocket that ends without DISCONNECT", async () => {
  const socket = await RawWebSocket.open(webPort);
  socket.send(packet(0x10, Buffer.concat([mqttString("MQTT"), Buffer.from([4, 6, 0, 60]), mqttString("dying"), mqttString("web/will"), mqttString("gone")])));
  expect(await socket.packet()).toBe(CONNACK);
  socket.destroy();
  await witness.waitFor("web/will", "gone");
});

it("a slow reader of WebSocket frames is bounded and the others are served", async () => {
  await withSocket(async (socket) => {
    socket.send(makePacket(0x82, Buffer.from([0, 1]), mqttString("flood"), Buffer.from([0])).toString("hex"));
    expect(await socket.packet()).toBe("9003000100");
    socket.socket.pause();
    const payload = "z".repeat(100_000);
    for (let i = 0; i < 400; i++) await witness.publish("flood", payload, { qos: 0 });
    await daemon.waitForLine(/CWNAN0045W.*slow-reader/);
    await othersAreServed("while another does not read");
    socket.socket.resume();
    socket.send(PINGREQ);
    for (;;) if ((await socket.packet(10_000)) === PINGRESP) break;
  }, "slow-reader");
});

describe("MQTT.js", () => {
  it.each([
    ["3.1.1", { protocolVersion: 4 as const }],
    ["3.1", { protocolVersion: 3 as const, protocolId: "MQIsdp" as const }],
  ])("over ws with MQTT %s: QoS 0 to 2 both ways", async (_version, options) => {
    const client = await connect311(webPort, { ...options, protocol: "ws", path: "/any", clientId: `mqttjs${options.protocolVersion}` });
    try {
      await client.subscribe("web/js", 2);
      for (const qos of [0, 1, 2] as const) await client.publish("web/js", `of QoS ${qos}`, { qos });
      const payloads = (await client.waitForMessages(3)).map(({ payload, qos }) => [payload, qos]);
      expect(payloads).toEqual([["of QoS 0", 0], ["of QoS 1", 1], ["of QoS 2", 2]]);
    } finally {
      await client.end();
    }
  });
});

describe("protocol auto", () => {
  it("serves MQTT and WebSockets on one port", async () => {
    const plain = await connect311(eitherPort, { clientId: "plain" });
    const web = await connect311(eitherPort, { clientId: "web", protocol: "ws" });
    try {
      await plain.subscribe("either", 1);
      await web.publish("either", "over a WebSocket", { qos: 1 });
      await plain.waitFor("either", "over a WebSocket");
    } finally {
      await plain.end();
      await web.end();
    }
  });

  it("takes a first packet and a request that come byte by byte", async () => {
    const slowMqtt = await RawConnection.dial(eitherPort);
    const slowHttp = await RawConnection.dial(eitherPort);
    for (const byte of Buffer.from(connectHex("drop-by-drop"), "hex")) slowMqtt.write(Buffer.from([byte]));
    for (const byte of Buffer.from(upgradeRequest())) slowHttp.write(Buffer.from([byte]));
    await slowMqtt.until(() => slowMqtt.received.toString("hex") === CONNACK, "no CONNACK");
    expect((await slowHttp.answer()).status).toBe(101);
    slowMqtt.destroy();
    slowHttp.destroy();
  });

  it("closes what is neither, and what ends without a word", async () => {
    const stranger = await RawConnection.dial(eitherPort);
    stranger.write(Buffer.from([0x16, 3, 1, 0, 5])); // TLS
    stranger.write(Buffer.alloc(50));
    await stranger.closed();
    const silent = await RawConnection.dial(eitherPort);
    silent.socket.end();
    await silent.closed();
    await othersAreServed("after strangers");
  });
});

describe("a configuration of mosquitto with WebSockets", () => {
  const daemons: DaemonProcess[] = [];
  afterAll(async () => {
    for (const one of daemons) await one.cleanup();
  });

  it("runs unchanged", async () => {
    const [mqttPort = 0, socketPort = 0] = await freePorts(2);
    const folder = daemon.folder;
    const other = await DaemonProcess.start(`
per_listener_settings false
allow_anonymous true
listener ${mqttPort}
socket_domain ipv4
listener ${socketPort}
protocol websockets
socket_domain ipv4
http_dir ${folder}
websockets_log_level 0
websockets_headers_size 1024
log_type error
log_type warning
log_type notice
log_type information
`);
    daemons.push(other);
    const client = await connect311(socketPort, { protocol: "ws" });
    await client.end();
    const answer = spawnSync("curl", ["-s", `http://127.0.0.1:${socketPort}/amqtdd.cfg`], { encoding: "utf8" });
    expect(answer.stdout).toContain(`listener ${webPort}`);
  });
});
