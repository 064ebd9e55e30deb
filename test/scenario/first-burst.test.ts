import { spawn } from "node:child_process";
import net from "node:net";
import path from "node:path";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { freePort } from "./daemon.ts";
import { makeFolder, removeFolder } from "./process.ts";

const program = path.join(import.meta.dirname, "..", "..", "dist", "amqtdd.js");
const CONNECT = Buffer.from("100d00044d5154540402003c000173", "hex");
const PUBLISH = Buffer.concat([Buffer.from([0x30, 103, 0, 1, 0x61]), Buffer.alloc(100)]);
let folder: string;

beforeEach(() => {
  folder = makeFolder("burst");
});

afterEach(() => removeFolder(folder));

it("optimizes nothing during the first burst of messages, and what it needs from then on", { timeout: 30_000 }, async () => {
  const port = await freePort();
  const runner = path.join(folder, "run.cjs");
  const config = path.join(folder, "amqtdd.cfg");
  writeFileSync(config, `listener ${port} 127.0.0.1\nallow_anonymous true\nlog_type none\npersistence_location ${folder}/store/\n`);
  writeFileSync(
    runner,
    `const v8 = require("node:v8"), set = v8.setFlagsFromString;
     v8.setFlagsFromString = (flag) => {
       if (/turbofan/.test(flag)) console.log(flag);
       set(flag);
     };
     require(${JSON.stringify(program)});`,
  );
  const daemon = spawn(process.execPath, [runner, "-c", config], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(daemon, "exit");
  try {
    let said = "";
    daemon.stdout.setEncoding("utf8").on("data", (text: string) => (said += text));
    const client = await vi.waitFor(() => connected(port), { timeout: 10_000 });
    const answered = once(client, "data");
    client.write(CONNECT);
    await answered;
    for (let message = 0; message < 20; message++) {
      client.write(PUBLISH);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(said).toBe("");
    client.write(Buffer.concat(Array.from({ length: 20 }, () => PUBLISH)));
    await vi.waitUntil(() => said.includes("--no-turbofan"));
    await vi.waitUntil(() => said.includes("--turbofan"));
    client.write(Buffer.concat(Array.from({ length: 20 }, () => PUBLISH)));
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(said).toBe("--no-turbofan\n--turbofan\n");
    client.destroy();
  } finally {
    daemon.kill();
    await ended;
  }
});

async function connected(port: number): Promise<net.Socket> {
  const socket = net.connect(port, "127.0.0.1");
  await once(socket, "connect");
  return socket;
}
