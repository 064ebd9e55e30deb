import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import tls from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Authority, opensslAvailable, opensslMissing } from "./certificates.ts";
import { connect311, mqttString, type TestClient } from "./clients.ts";
import { DaemonProcess, freePorts } from "./daemon.ts";
import { makePacket } from "./packets.ts";
import { makeFolder, removeFolder } from "./process.ts";
import { RawWebSocket } from "./web-clients.ts";

describe.skipIf(!opensslAvailable())(`wss and https${opensslAvailable() ? "" : ` (${opensslMissing})`}`, () => {
  let folder: string;
  let authority: Authority;
  let daemon: DaemonProcess;
  let webPort: number;
  let eitherPort: number;

  beforeAll(async () => {
    folder = makeFolder("wss");
    authority = new Authority(folder);
    const { cert, key } = authority.issue("server");
    writeFileSync(path.join(folder, "index.html"), "<h1>over TLS</h1>");
    [webPort = 0, eitherPort = 0] = await freePorts(2);
    const tls = `certfile ${cert}\nkeyfile ${key}\nhttp_dir ${folder}`;
    daemon = await DaemonProcess.start(`listener ${webPort} 127.0.0.1\nprotocol websockets\n${tls}\nlistener ${eitherPort} 127.0.0.1 auto\n${tls}`);
  });

  afterAll(async () => {
    await daemon?.cleanup();
    removeFolder(folder);
  });

  const over = (protocol: "wss" | "mqtts", port: number): Promise<TestClient> => connect311(port, { protocol, ca: readFileSync(authority.cert) });

  it.each(["websockets", "auto"])("MQTT.js over wss on a listener with protocol %s, large messages too", async (protocol) => {
    const client = await over("wss", protocol === "auto" ? eitherPort : webPort);
    try {
      await client.subscribe(protocol, 2);
      const payload = "x".repeat(900_000);
      for (const qos of [0, 1, 2] as const) await client.publish(protocol, `${qos} ${payload}`, { qos });
      expect((await client.waitForMessages(3)).map(({ payload: received }) => received)).toEqual([0, 1, 2].map((qos) => `${qos} ${payload}`));
    } finally {
      await client.end();
    }
  });

  it("protocol auto tells MQTT from HTTP behind the handshake", async () => {
    const plain = await over("mqtts", eitherPort);
    const web = await over("wss", eitherPort);
    try {
      await plain.subscribe("either", 1);
      await web.publish("either", "over wss", { qos: 1 });
      await plain.waitFor("either", "over wss");
    } finally {
      await plain.end();
      await web.end();
    }
  });

  it.each(["websockets", "auto"])("gives curl the page over https on a listener with protocol %s", (protocol) => {
    const url = `https://localhost:${protocol === "auto" ? eitherPort : webPort}/`;
    expect(spawnSync("curl", ["-s", "--cacert", authority.cert, url], { encoding: "utf8" }).stdout).toBe("<h1>over TLS</h1>");
  });

  it("a slow reader over wss is bounded, and gets what was kept when it reads on", async () => {
    const socket = tls.connect({ port: webPort, host: "localhost", ca: readFileSync(authority.cert) });
    await once(socket, "secureConnect");
    const slow = await RawWebSocket.over(socket);
    const fast = await over("mqtts", eitherPort);
    try {
      const connect = makePacket(0x10, mqttString("MQTT"), Buffer.from([4, 2, 0, 0]), mqttString("slow"));
      const subscribe = makePacket(0x82, Buffer.from([0, 1]), mqttString("flood"), Buffer.from([0]));
      slow.send(connect.toString("hex"), subscribe.toString("hex"));
      expect([await slow.packet(), await slow.packet()]).toEqual(["20020000", "9003000100"]);
      socket.pause();
      for (let i = 0; i < 200; i++) await fast.publish("flood", "z".repeat(100_000));
      await fast.subscribe("witness", 1);
      await fast.publish("witness", "served", { qos: 1 });
      await fast.waitFor("witness", "served");
      await daemon.waitForLine(/CWNAN0045W.*slow/);
      socket.resume();
      slow.send("c000");
      for (let packets = 0; ; packets++) {
        const packet = await slow.packet(10_000);
        if (packet !== "d000") continue;
        expect(packets).toBeGreaterThan(20); // what was kept, 4 MiB and the system's buffers
        return;
      }
    } finally {
      slow.destroy();
      await fast.end();
    }
  });
});
