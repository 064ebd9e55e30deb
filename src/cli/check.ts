import { readConfig } from "../config/read-config.ts";

/** Prints what is wrong with a configuration file. Returns the exit code: 1 if the daemon would not start with it. */
export function check(file: string): number {
  const { config, problems, notes } = readConfig(file);
  for (const problem of [...notes, ...problems]) process.stdout.write(`${problem}\n`);
  if (config === undefined) return 1;
  process.stdout.write(`${file}: ${problems.length === 0 ? "no problems" : "usable"}\n`);
  return 0;
}
