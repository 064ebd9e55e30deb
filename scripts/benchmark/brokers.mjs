// The brokers that are measured: their configurations, and their processes on the broker's core.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { pbkdf2Sync, randomBytes } from "node:crypto";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { cores, environment, onCore } from "./machine.mjs";
import { freePort, untilOpen } from "./ports.mjs";

export const program = path.join(import.meta.dirname, "..", "..", "dist", "amqtdd.js");
export const mosquittoVersion = /mosquitto version (\S+)/.exec(spawnSync("mosquitto", ["-h"], { encoding: "utf8" }).stdout ?? "")?.[1];
export const user = { user: "bench", password: "a password" };

/** What both brokers are told: as many in flight as the load has, and that packets are not held back. */
const common = ["max_inflight_messages 100", "connection_messages false"];
/** mosquitto at its quickest: no access control, no limits of queues. */
const mosquittoWords = [...common, "max_queued_messages 0", "set_tcp_nodelay true", "allow_anonymous true", "log_dest none"];
/** amqtdd as one would run it: with a store, access control, and every limit that it has, where the load does not reach it. */
const amqtddWords = [
  ...common, "durability power", "max_queued_messages 2000000", "max_queued_bytes 1073741824", "max_queued_age 14d", "max_total_queued_messages 4000000",
  "max_total_queued_bytes 2147483648", "max_connections_per_address 20000", "persistent_client_expiration 14d", "max_keepalive 3600",
];
export const settings = {
  amqtdd: `${amqtddWords.join(", ")}, password_file and acl_file of 12 users, max_connections 20000`,
  mosquitto: mosquittoWords.join(", "),
};

/** A broker that runs. */
class Broker {
  #child;
  #ended;

  constructor(words, port) {
    this.port = port;
    const [command, ...args] = words;
    this.spawnedAt = performance.now();
    this.#child = spawn(command, args, { stdio: ["ignore", "ignore", "inherit"], cwd: tmpdir(), env: environment });
    this.#ended = once(this.#child, "close");
  }

  get pid() {
    return this.#child.pid;
  }

  untilOpen() {
    return untilOpen(this.port, this.#child);
  }

  async stop() {
    this.#child.kill("SIGTERM");
    const killer = setTimeout(() => this.#child.kill("SIGKILL"), 5_000);
    await this.#ended;
    clearTimeout(killer);
  }
}

function newFolder() {
  const folder = mkdtempSync(path.join(tmpdir(), "amqtdd-bench-"));
  chmodSync(folder, 0o755);
  return folder;
}

/** The files of access control: the load's user among others, and rules for each. */
function accessKeywords(folder) {
  const others = Array.from({ length: 11 }, (_, i) => `other${i}`);
  const hash = () => {
    const salt = randomBytes(12);
    return `$7$1000$${salt.toString("base64")}$${pbkdf2Sync(user.password, salt, 1000, 64, "sha512").toString("base64")}`;
  };
  const rules = ["topic read public/#", ...others.flatMap((name) => [`user ${name}`, `topic write others/${name}/#`]), `user ${user.user}`, "topic read bench/#", "topic write bench/#"];
  writeFileSync(path.join(folder, "passwords"), [...others, user.user].map((name) => `${name}:${hash()}\n`).join(""));
  writeFileSync(path.join(folder, "acl"), [...rules, "topic read site/#", ""].join("\n"));
  return [`password_file ${folder}/passwords`, `acl_file ${folder}/acl`];
}

/** Keywords of a TLS listener, the same for both brokers, with a certificate made now. */
function tlsKeywords(folder) {
  const [cert, key] = [path.join(folder, "cert.pem"), path.join(folder, "key.pem")];
  const kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj", "/CN=localhost"];
  execFileSync("openssl", ["req", ...kind, "-keyout", key, "-out", cert], { stdio: "ignore" });
  chmodSync(key, 0o644); // a mosquitto that root starts reads it as another user
  return [`certfile ${cert}`, `keyfile ${key}`];
}

/** A bridge that sends what the load publishes to a broker at `port`. */
const bridgeLines = (port) => [
  "connection central", `address 127.0.0.1:${port}`, "clientid bench-bridge", "topic bench/# out 1", "notifications false", "bridge_protocol_version mqttv311", "cleansession false",
];

/**
 * Starts `name` ("amqtdd" or "mosquitto") with a new store and waits until it listens. `words` are further lines for amqtdd, `nodeFlags` Node's for it. Gives `{ port, pid, stop }`;
 * `stop` leaves nothing behind.
 */
export async function startBroker(name, { webSocket = false, secure = false, upstreamPort, words = [], nodeFlags = [], core = cores.broker } = {}) {
  const folder = newFolder();
  const port = await freePort();
  const broker = new Broker(onCore(core, await command(name, folder, port, { webSocket, secure, upstreamPort, words, nodeFlags })), port);
  const stop = async () => {
    await broker.stop();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await broker.untilOpen();
  } catch (error) {
    await stop();
    throw error;
  }
  return { port, pid: broker.pid, stop };
}

/** Writes the configuration into `folder` and gives the words that start the broker with it. */
async function command(name, folder, port, { webSocket = false, secure = false, upstreamPort, words = [], nodeFlags = [] }) {
  const listener = [`listener ${port} 127.0.0.1`, ...(webSocket ? ["protocol websockets"] : []), ...(secure ? tlsKeywords(folder) : [])];
  const bridge = upstreamPort === undefined ? [] : bridgeLines(upstreamPort);
  const file = path.join(folder, "broker.cfg");
  if (name === "amqtdd") {
    mkdirSync(path.join(folder, "store"), { recursive: true });
    const lines = [`persistence_location ${folder}/store/`, ...amqtddWords, ...accessKeywords(folder), ...words, ...listener, "max_connections 20000", ...bridge];
    writeFileSync(file, `${lines.join("\n")}\n`);
    return [process.execPath, ...nodeFlags, program, "-c", file];
  }
  // mosquitto does not start with WebSockets alone.
  const second = webSocket ? [`listener ${await freePort()} 127.0.0.1`] : [];
  writeFileSync(file, `${[...mosquittoWords, ...second, ...listener, ...bridge].join("\n")}\n`);
  return ["mosquitto", "-c", file];
}

/** Milliseconds from exec until a connection is accepted, `times` times over on one store; the first start makes it and does not count. "node" is nothing but a port. */
export async function startTimes(name, times) {
  const folder = newFolder();
  const results = [];
  try {
    for (let i = 0; i <= times; i++) {
      const port = await freePort();
      const bare = [process.execPath, "-e", `require("net").createServer().listen(${port}, "127.0.0.1")`];
      const broker = new Broker(onCore(cores.broker, name === "node" ? bare : await command(name, folder, port, {})), port);
      try {
        await broker.untilOpen();
        if (i > 0) results.push(performance.now() - broker.spawnedAt);
      } finally {
        await broker.stop();
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return results;
}
