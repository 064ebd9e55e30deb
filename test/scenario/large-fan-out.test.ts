import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import net from "node:net";
import mqtt from "mqtt";
import { expect, it, onTestFinished } from "vitest";
import { DaemonProcess, freePort } from "./daemon.ts";
import { connectPacket, publishPacket } from "./packets.ts";

const MESSAGES = 60;
const BYTES = [40_000, 100_000, 300_000, 700_000] as const;

const digest = (bytes: Buffer): string => createHash("md5").update(bytes).digest("hex");

it.each([[0, "WebSockets first"], [0, "MQTT 5 first"], [1, "WebSockets first"], [1, "MQTT 5 first"]] as const)("brings large messages of QoS %i unchanged to peers of all kinds, %s", async (qos, order) => {
  const [port, webPort] = [await freePort(), await freePort()];
  await DaemonProcess.startForTest(`listener ${port} 127.0.0.1\nlistener ${webPort} 127.0.0.1\nprotocol websockets`);
  const web = `ws://127.0.0.1:${webPort}`;
  const plain = `mqtt://127.0.0.1:${port}`;
  const got: string[][] = [];
  for (const [url, protocolVersion] of order === "WebSockets first" ? ([[web, 4], [plain, 4], [web, 5], [plain, 5]] as const) : ([[plain, 5], [plain, 4], [web, 4], [web, 5]] as const)) {
    const client = await mqtt.connectAsync(url, { clientId: `subscriber-${got.length}`, protocolVersion, reconnectPeriod: 0 });
    onTestFinished(() => void client.end(true));
    const digests: string[] = [];
    client.on("message", (_topic, payload) => digests.push(digest(payload)));
    await client.subscribeAsync("large/#", { qos });
    got.push(digests);
  }
  const socket = net.connect(port, "127.0.0.1");
  onTestFinished(() => void socket.destroy());
  await once(socket, "connect");
  socket.write(connectPacket("publisher"));
  socket.resume();
  const sent: string[] = [];
  for (let number = 0; number < MESSAGES; number++) {
    const payload = randomBytes(BYTES[number % BYTES.length] ?? 0);
    sent.push(digest(payload), digest(Buffer.from("small")));
    // Behind the end of each there is another one in the same read.
    socket.write(Buffer.concat([publishPacket(`large/${number % 7}`, payload, { qos, id: 2 * number + 1 }), publishPacket("large/small", Buffer.from("small"), { qos, id: 2 * number + 2 })]));
    await expect.poll(() => got.every(({ length }) => length >= sent.length), { timeout: 5_000, interval: 2 }).toBe(true);
  }
  for (const digests of got) expect(digests).toEqual(sent);
});
