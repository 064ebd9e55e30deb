// Makes dist/main.cache in a process of its own: starts the daemon with the configuration file given, has clients exchange messages with it, and keeps
// what V8 has compiled for that. The first messages after a start then wait for no compiling either.
"use strict";
const { once } = require("node:events");
const { writeFileSync } = require("node:fs");
const net = require("node:net");
const { join } = require("node:path");
const { setFlagsFromString } = require("node:v8");
const { connectAsync } = require("mqtt");

const [config, port] = process.argv.splice(2);
const dist = join(__dirname, "..", "dist");
process.argv.splice(1, 1, join(dist, "amqtdd.js"), "-c", config);
const script = require(join(dist, "amqtdd.js"));

async function listening() {
  for (;;) {
    const socket = net.connect(Number(port), "127.0.0.1");
    const isOpen = await once(socket, "connect").then(() => true, () => false);
    socket.destroy();
    if (isOpen) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A client with a session that stays sends messages of each QoS to itself. */
async function exchange(protocolVersion) {
  const client = await connectAsync(`mqtt://127.0.0.1:${port}`, { protocolVersion, clientId: `build-${protocolVersion}`, clean: false });
  await client.subscribeAsync("build/+", { qos: 2 });
  const end = new Promise((resolve) => client.on("message", (topic) => topic === "build/end" && resolve()));
  for (let i = 0; i < 20; i++) for (const qos of [0, 1, 2]) void client.publishAsync("build/message", "a message", { qos, retain: i === 0 });
  await client.publishAsync("build/end", "", { qos: 2 });
  await end;
  await client.endAsync();
}

async function main() {
  await listening();
  for (const version of [4, 5]) await exchange(version);
  setFlagsFromString("--turbofan"); // V8 takes a cache only with the flags that it was made with, and this has been a first burst
  writeFileSync(join(dist, "main.cache"), script.createCachedData());
  process.kill(process.pid, "SIGTERM");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
