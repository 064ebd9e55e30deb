import { copyFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { chromium, type Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect311, type TestClient } from "./clients.ts";
import { DaemonProcess, freePort } from "./daemon.ts";
import { makeFolder, removeFolder } from "./process.ts";

const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((file) => existsSync(file));
const require = createRequire(import.meta.url);

const PAGE = `<!doctype html>
<title>paho</title>
<script src="paho-mqtt.js"></script>
<script>
  window.received = [];
  window.client = new Paho.Client(location.hostname, Number(location.port), "/mqtt", "page");
  client.onMessageArrived = ({ destinationName, payloadString, qos, retained }) => received.push([destinationName, payloadString, qos, retained]);
  client.onConnectionLost = ({ errorMessage }) => { window.lost = errorMessage || "closed"; };
  window.connected = new Promise((resolve, reject) => client.connect({ mqttVersion: 4, onSuccess: () => resolve("connected"), onFailure: ({ errorMessage }) => reject(new Error(errorMessage)) }));
  window.subscribed = connected.then(() => new Promise((resolve) => client.subscribe("page/in/#", { qos: 2, onSuccess: () => resolve("subscribed") })));
</script>`;

describe.skipIf(CHROMIUM === undefined)(`Paho JS in Chromium${CHROMIUM === undefined ? " (skipped: chromium is not installed)" : ""}`, () => {
  let folder: string;
  let browser: Browser | undefined;
  let daemon: DaemonProcess;
  let port: number;
  let peer: TestClient;

  beforeAll(async () => {
    folder = makeFolder("browser");
    const www = path.join(folder, "www");
    mkdirSync(www);
    writeFileSync(path.join(www, "index.html"), PAGE);
    copyFileSync(require.resolve("paho-mqtt"), path.join(www, "paho-mqtt.js"));
    port = await freePort();
    daemon = await DaemonProcess.start(`listener ${port} 127.0.0.1\nprotocol auto\nhttp_dir ${www}\nwebsockets_origin http://127.0.0.1:${port}`);
    peer = await connect311(port, { clientId: "peer" });
    browser = await chromium.launch({
      executablePath: CHROMIUM ?? "",
      args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
    });
  }, 60_000);

  afterAll(async () => {
    await browser?.close();
    await peer?.end();
    await daemon?.cleanup();
    removeFolder(folder);
  });

  it("loads its page from http_dir, and publishes and receives with QoS 0 to 2 on the same port", async () => {
    const page = await browser?.newPage();
    if (!page) throw new Error("no browser");
    await peer.subscribe("page/out/#", 2);
    await page.goto(`http://127.0.0.1:${port}/`);
    expect(await page.evaluate("subscribed")).toBe("subscribed");
    for (const qos of [0, 1, 2] as const) {
      await peer.publish("page/in/x", `to the page ${qos}`, { qos });
      await page.evaluate(`client.send("page/out/x", "from the page ${qos}", ${qos}, false)`);
      await peer.waitFor("page/out/x", `from the page ${qos}`);
    }
    await page.waitForFunction("received.length === 3");
    expect(await page.evaluate("received")).toEqual([0, 1, 2].map((qos) => ["page/in/x", `to the page ${qos}`, qos, false]));
    const large = "x".repeat(500_000);
    await page.evaluate(`client.send("page/out/large", "x".repeat(500000), 1, false)`);
    await peer.waitFor("page/out/large", large);
    expect(await page.evaluate("window.lost")).toBeUndefined();
    await page.close();
  }, 60_000);

  it("is refused from a page of another origin", async () => {
    const page = await browser?.newPage();
    if (!page) throw new Error("no browser");
    await page.goto(`http://localhost:${port}/`);
    await expect(page.evaluate("connected")).rejects.toThrow();
    await page.close();
  }, 60_000);
});
