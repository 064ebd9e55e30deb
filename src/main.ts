import { Command } from "commander";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import type { AclQuestion } from "./cli/acl.ts";
import { readConfig, type ReadResult } from "./config/read-config.ts";
import { LineWriter } from "./log/destinations.ts";
import { defaultConfig } from "./config/default-config.ts";
import type { Config } from "./config/config.ts";
import { createDaemon, StartError } from "./daemon.ts";
import { letFirstBurstThrough } from "./first-burst.ts";
import { lowerOtherThreads } from "./threads.ts";

const VERSION = process.env["AMQTDD_VERSION"] ?? "unbuilt";

interface RunOptions {
  readonly config?: string;
  readonly port?: string;
  readonly verbose?: boolean;
  readonly lenient?: boolean;
}

async function run(file: string | undefined, options: RunOptions): Promise<void> {
  const path = options.config ?? file ?? ["amqtdd.cfg", "broker.cfg"].find((name) => existsSync(name));
  const port = options.port === undefined ? undefined : Number(options.port);
  if (port !== undefined && (!Number.isInteger(port) || port < 1 || port > 65535)) return fail(`-p ${options.port ?? ""}: not a port number`);
  const readOptions = { lenient: options.lenient, port };
  let config: Config;
  if (path === undefined) {
    config = defaultConfig(port);
  } else {
    const read = readConfig(path, readOptions);
    for (const problem of read.problems) process.stderr.write(`${problem}\n`);
    if (read.config === undefined) {
      return fail(`amqtdd: ${path}: not started${options.lenient ? "" : ` (amqtdd --lenient -c ${path} ignores lines that it does not understand)`}`);
    }
    config = read.config;
  }
  if (options.verbose) config = { ...config, logLevel: "config" };
  lowerOtherThreads();
  const lines = new LineWriter(config.logDestinations);
  let stopping = false;
  const daemon = createDaemon(config, {
    writeLine: (line) => lines.write(line),
    ...(path === undefined ? {} : { readAgain: () => verboseIfAsked(readConfig(path, readOptions), options) }),
    onStopCommand: () => stop(),
    onFirstBurst: letFirstBurstThrough,
  });
  const stop = (): void => {
    if (stopping) return;
    stopping = true;
    daemon.stop().then(
      async () => {
        await lines.flush();
        if (config.pidFile !== undefined) rmSync(config.pidFile, { force: true });
        process.exit(0);
      },
      (error: unknown) => fail(String(error)),
    );
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  process.on("SIGHUP", () => void daemon.reload().catch(() => undefined)); // it has been logged
  try {
    await daemon.start();
  } catch (error) {
    if (stopping) return; // that is why; the process ends when it has stopped
    return fail(`amqtdd: ${error instanceof StartError ? error.message : String(error)}`);
  }
  lowerOtherThreads(); // those of the store
  if (config.pidFile !== undefined) writeFileSync(config.pidFile, `${process.pid}\n`);
  if (path === undefined) process.stdout.write(hints(daemon.ports[0] ?? 1883));
}

/** `-v` holds over a reload too. */
function verboseIfAsked(read: ReadResult, { verbose }: RunOptions): ReadResult {
  return verbose && read.config ? { ...read, config: { ...read.config, logLevel: "config" } } : read;
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
  .argument("[config]", "configuration file; default ./amqtdd.cfg or ./broker.cfg, if there is one")
  .option("-c, --config <file>", "configuration file")
  .option("-p, --port <port>", "port of the default listener")
  .option("--lenient", "warn of unknown keywords and bad values and go on without them")
  .option("-d, --daemon", "taken for compatibility: the daemon stays in the foreground")
  .option("-v, --verbose", "log everything, as log_level config does")
  .enablePositionalOptions()
  .action(run);
program
  .command("check")
  .description("check a configuration file and say what is wrong with it")
  .argument("<config>")
  .action(async (file: string) => process.exit((await import("./cli/check.ts")).check(file)));

program
  .command("passwd")
  .description("set a user's password in a password file (asked for, or a line of standard input); -D removes the user")
  .argument("<file>")
  .argument("<user>")
  .option("-D, --delete", "remove the user")
  .action(async (file: string, user: string, { delete: remove }: { delete?: boolean }) => {
    const { passwd } = await import("./cli/passwd.ts");
    process.exit(await passwd(file, user, { remove: remove === true }));
  });
program
  .command("ctl")
  .description("send a command to the running daemon, or with - those of standard input; `amqtdd ctl help` lists them")
  .argument("<command...>", "command and its values")
  .option("-c, --config <file>", "configuration file of the daemon that is meant")
  .passThroughOptions()
  .action(async (words: string[], options: { config?: string }) => process.exit(await (await import("./cli/ctl.ts")).ctl(words, options)));
const acl = program.command("acl").description("questions about access rules");
acl
  .command("explain")
  .description("say which line of the ACL file decides")
  .argument("<config>")
  .requiredOption("--topic <topic>", "topic name, mount point included; or a filter to subscribe to")
  .option("--user <user>", "authenticated user; without it an anonymous client is asked for")
  .option("--client <id>", "client identifier", "")
  .option("--connection <name>", "ask for a bridge instead of a client")
  .action(async (file: string, question: AclQuestion) => process.exit((await import("./cli/acl.ts")).explainAcl(file, question)));

void program.parseAsync();
