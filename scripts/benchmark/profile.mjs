// Where the time goes: a CPU profile of amqtdd under one run's load.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { runsNamed } from "./runs.mjs";

const LINES = 10;
/** So that the start is a small part of it. */
const LONGER = 5;

/** The functions in which most time was spent, without what they call: `{ name, percent }` of the time that the process was not idle. */
function hottest({ nodes, samples, timeDeltas }) {
  const names = new Map(nodes.map(({ id, callFrame: { functionName, url } }) => [id, `${functionName || "(anonymous)"}${/^node:|^$/.test(url) ? "" : ", amqtdd"}`]));
  const micros = new Map();
  let total = 0;
  samples.forEach((id, i) => {
    const name = names.get(id);
    if (name === "(idle)") return;
    micros.set(name, (micros.get(name) ?? 0) + timeDeltas[i]);
    total += timeDeltas[i];
  });
  return [...micros].sort((a, b) => b[1] - a[1]).map(([name, time]) => ({ name, percent: (time * 100) / total }));
}

export async function printProfile(mode, scale) {
  const folder = mkdtempSync(path.join(tmpdir(), "amqtdd-profile-"));
  try {
    const [run] = runsNamed([mode], scale * LONGER);
    await run.measure("amqtdd", { nodeFlags: ["--cpu-prof", "--cpu-prof-interval=200", `--cpu-prof-dir=${folder}`] });
    const [file] = readdirSync(folder);
    if (file === undefined) throw new Error(`there is no profile of ${mode}`);
    const lines = hottest(JSON.parse(readFileSync(path.join(folder, file), "utf8"))).slice(0, LINES);
    console.log(`\n${run.title}: share of the time that amqtdd was busy\n`);
    for (const { name, percent } of lines) console.log(`${percent.toFixed(1).padStart(6)} %  ${name}`);
    return { mode, lines };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
