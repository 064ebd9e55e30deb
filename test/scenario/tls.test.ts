import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import mqtt from "mqtt";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Authority, opensslAvailable, opensslMissing, type Certificate } from "./certificates.ts";
import { DaemonProcess, freePort } from "./daemon.ts";
import { mosquittoAvailable } from "./mosquitto.ts";
import { makeFolder, removeFolder } from "./process.ts";

const isMissing = !opensslAvailable() || !mosquittoAvailable();

describe.skipIf(isMissing)(`TLS listeners${isMissing ? ` (${opensslMissing}, or mosquitto)` : ""}`, () => {
  let folder: string;
  let authority: Authority;
  let server: Certificate;
  let daemon: DaemonProcess;
  let port: number;

  beforeAll(async () => {
    folder = makeFolder("tls");
    authority = new Authority(folder);
    server = authority.issue("server");
    port = await freePort();
    daemon = await DaemonProcess.start(`listener ${port} 127.0.0.1\ncertfile ${server.cert}\nkeyfile ${server.key}`);
  });

  afterAll(async () => {
    await daemon?.cleanup();
    removeFolder(folder);
  });

  it.each(["tlsv1.2", "tlsv1.3"])("serve mosquitto's clients with %s", (version) => {
    const args = ["-h", "localhost", "-p", String(port), "--cafile", authority.cert, "--tls-version", version, "-t", `over/${version}`];
    const publish = spawnSync("mosquitto_pub", [...args, "-q", "1", "-r", "-m", "hello"], { encoding: "utf8" });
    expect(publish).toMatchObject({ status: 0, stderr: "" });
    const subscribe = spawnSync("mosquitto_sub", [...args, "-C", "1", "-W", "10"], { encoding: "utf8" });
    expect(subscribe).toMatchObject({ status: 0, stdout: "hello\n" });
  });

  it("serve MQTT.js, large messages too", async () => {
    const client = await mqtt.connectAsync(`mqtts://localhost:${port}`, { ca: readFileSync(authority.cert), reconnectPeriod: 0 });
    try {
      const received = new Promise<Buffer>((resolve) => client.on("message", (_topic, payload) => resolve(payload)));
      await client.subscribeAsync("large", { qos: 1 });
      const payload = Buffer.alloc(900_000, "x");
      await client.publishAsync("large", payload, { qos: 1 });
      expect((await received).equals(payload)).toBe(true);
    } finally {
      await client.endAsync(true);
    }
  });
});
