import { readFileSync } from "node:fs";
import net from "node:net";
import { resolve } from "node:path";
import { parseConfig } from "../config/parser.ts";
import { controlSocketPath } from "../control/control-socket.ts";

/** Sends commands to a running daemon and prints what they did. Returns the exit code: 1 if one failed, 2 if no daemon was reached. */
export async function ctl(words: readonly string[], options: { config?: string | undefined }): Promise<number> {
  const strange = words.find((word) => /[\u0000-\u0008\u000a-\u001f\u007f]/.test(word));
  if (strange !== undefined && words[0] !== "-") return fail(`${JSON.stringify(strange)}: an argument must not contain control characters`);
  const text = words.length === 1 && words[0] === "-" ? readFileSync(0, "utf8") : words.map(quoted).join(" ");
  let prefix = `${resolve(".")}/`;
  if (options.config !== undefined) {
    // What else is wrong with the file does not matter here.
    let text: string;
    try {
      text = readFileSync(options.config, "utf8");
    } catch (error) {
      return fail(error instanceof Error ? error.message : String(error));
    }
    prefix = parseConfig(text, options.config).config.persistencePrefix;
  }
  const path = controlSocketPath(prefix);
  try {
    const answer = await exchange(path, `${text}\n`);
    process.stdout.write(words[0] === "-" ? answer : answer.replace(/^1: .*?: (done|ERROR): \n?/, ""));
    return /^\d+: .*?: ERROR: /m.test(answer) ? 1 : 0;
  } catch (error) {
    return fail(`no daemon answers at ${path} (${error instanceof Error ? error.message : String(error)}); amqtdd ctl -c CONFIG says which one is meant`);
  }
}

function quoted(word: string): string {
  return word === "" || /[\s"]/.test(word) ? `"${word.replaceAll('"', '""')}"` : word;
}

function exchange(path: string, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    const socket = net.connect({ path, allowHalfOpen: true });
    socket.on("error", reject);
    socket.on("data", (part) => parts.push(part));
    socket.on("end", () => {
      socket.end();
      resolve(Buffer.concat(parts).toString());
    });
    socket.end(text);
  });
}

function fail(text: string): 2 {
  process.stderr.write(`${text}\n`);
  return 2;
}
