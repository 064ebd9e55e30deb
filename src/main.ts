#!/usr/bin/env node
import { Command } from "commander";
import { check } from "./cli/check.ts";
import { readConfig } from "./config/read-config.ts";
import { defaultConfig } from "./config/default-config.ts";
import type { Config } from "./config/config.ts";
import { createDaemon, StartError } from "./daemon.ts";

const VERSION = process.env["AMQTDD_VERSION"] ?? "unbuilt";

interface RunOptions {
  readonly config?: string;
  readonly port?: string;
  readonly verbose?: boolean;
  readonly lenient?: boolean;
}

async function run(file: string | undefined, options: RunOptions): Promise<void> {
  const path = options.config ?? file;
  const port = options.port === undefined ? undefined : Number(options.port);
  if (port !== undefined && (!Number.isInteger(port) || port < 1 || port > 65535)) return fail(`-p ${options.port ?? ""}: not a port number`);
  let config: Config;
  if (path === undefined) {
    config = defaultConfig(port);
  } else {
    const read = readConfig(path, { lenient: options.lenient === true, ...(port === undefined ? {} : { port }) });
    for (const problem of read.problems) process.stderr.write(`${problem}\n`);
    if (read.config === undefined) {
      return fail(`amqtdd: ${path}: not started${options.lenient ? "" : ` (amqtdd --lenient -c ${path} ignores lines that it does not understand)`}`);
    }
    config = read.config;
  }
  if (options.verbose) config = { ...config, logLevel: "config" };
  const daemon = createDaemon(config);
  let stopping = false;
  const stop = (): void => {
    if (stopping) return;
    stopping = true;
    daemon.stop().then(() => process.exit(0), (error: unknown) => fail(String(error)));
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  process.on("SIGHUP", () => void daemon.reload());
  try {
    await daemon.start();
  } catch (error) {
    return fail(`amqtdd: ${error instanceof StartError ? error.message : String(error)}`);
  }
  if (path === undefined) process.stdout.write(hints(daemon.ports[0] ?? 1883));
}

function fail(text: string): never {
  process.stderr.write(`${text}\n`);
  process.exit(1);
}

const hints = (port: number): string => `
No configuration file: listening on 127.0.0.1:${port} only, messages kept in ./amqtdd-store.
  subscribe   mosquitto_sub -p ${port} -t 'sensors/#' -v
  publish     mosquitto_pub -p ${port} -q 1 -t sensors/attic -m 21.5
  a bridge    put this into amqtdd.cfg and start with -c amqtdd.cfg:
                listener ${port}
                connection central
                  address central.example.org:1883
                  topic sensors/# out

`;

// Whoever reads our lines may go; the daemon stays.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => undefined);

const program = new Command("amqtdd")
  .description("A small, durable MQTT daemon for the edge: concentrates, stores and forwards.")
  .version(VERSION, "--version")
  .argument("[config]", "configuration file")
  .option("-c, --config <file>", "configuration file")
  .option("-p, --port <port>", "port of the default listener")
  .option("--lenient", "warn of unknown keywords and bad values and go on without them")
  .option("-v, --verbose", "log everything, as log_level config does")
  .action(run);
program
  .command("check")
  .description("check a configuration file and say what is wrong with it")
  .argument("<config>")
  .action((file: string) => process.exit(check(file)));

await program.parseAsync();
