// Runs each mode against amqtdd and mosquitto in turn and prints medians. The load comes from a process of its own (load/main.mjs); the broker has
// one core, the load another, where taskset allows it.
import { writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { parseArgs } from "node:util";
import { mosquittoVersion, settings } from "./brokers.mjs";
import { printGrowth } from "./growth.mjs";
import { fdatasyncMs, pinned } from "./machine.mjs";
import { printProfile } from "./profile.mjs";
import { runsNamed } from "./runs.mjs";
import { printSoak } from "./soak.mjs";
import { shown, shownSummary, summary } from "./statistics.mjs";

const usage = "scripts/bench [--runs 3] [--modes fanin-q0,pairs-q1] [--scale 1] [--json FILE] | --growth | --soak SECONDS | --profile MODE";

function readArguments() {
  try {
    const { values } = parseArgs({
      options: {
        runs: { type: "string", default: "3" }, modes: { type: "string" }, scale: { type: "string", default: "1" }, json: { type: "string" },
        growth: { type: "boolean", default: false }, soak: { type: "string" }, profile: { type: "string" },
      },
    });
    if (!(Number(values.runs) >= 1) || !(Number(values.scale) > 0)) throw new Error("--runs and --scale are positive numbers");
    return values;
  } catch (error) {
    console.error(`${error.message}\nusage: ${usage}`);
    process.exit(2);
  }
}

const values = readArguments();
const [runs, scale] = [Number(values.runs), Number(values.scale)];

const brokers = mosquittoVersion === undefined ? ["amqtdd"] : ["amqtdd", "mosquitto"];
const machine = {
  cpu: cpus()[0]?.model.trim(), cores: cpus().length, node: process.version, mosquitto: mosquittoVersion ?? "not installed",
  pinned, fdatasyncMs: fdatasyncMs(tmpdir()), settings,
};

function printMachine() {
  console.log(`${machine.cpu}, ${machine.cores} cores, Node ${machine.node}, mosquitto ${machine.mosquitto}; fdatasync of 4 KiB below ${tmpdir()} takes ${machine.fdatasyncMs.toFixed(2)} ms`);
  console.log(`The broker has ${pinned ? "one core, the load another" : "no core of its own"}. Medians of ${runs} (least-most), the brokers in alternation; messages of 100 bytes.`);
  console.log(`  amqtdd:    ${settings.amqtdd}`);
  console.log(`  mosquitto: ${settings.mosquitto}`);
}

const failures = [];

/** A load that uses so much of its core is what limits a rate. */
const LOAD_IS_LIMIT = 0.9;

/** Samples of all brokers in alternation; with `own` figures alone, of amqtdd. */
async function sample({ name, measure, figures }) {
  const samples = Object.fromEntries(brokers.map((broker) => [broker, []]));
  const measured = figures.every(({ own }) => own) ? ["amqtdd"] : brokers;
  for (let run = 0; run < runs; run++) {
    for (const broker of measured) {
      try {
        samples[broker].push(await measure(broker));
      } catch (error) {
        failures.push(`${name}, ${broker}: ${error.message}`);
      }
    }
  }
  return samples;
}

/** A figure of all samples: medians, how many times better than mosquitto, and whether that is what it should be. A rate that is not the broker's is not judged. */
function evaluate({ name, of, less = false, own = false, atLeast, atMost }, samples) {
  const amqtdd = summary(samples.amqtdd.map(of));
  const mosquitto = own || !samples.mosquitto?.length ? undefined : summary(samples.mosquitto.map(of));
  const better = mosquitto && (less ? mosquitto.median / amqtdd.median : amqtdd.median / mosquitto.median);
  const target = atMost !== undefined ? `<= ${shown(atMost)}` : atLeast !== undefined ? `>= ${atLeast.toFixed(2)}x` : undefined;
  const loadIsLimit = /a second/.test(name) && summary(samples.amqtdd.map((one) => one.loadCoreBusy ?? 0)).median >= LOAD_IS_LIMIT;
  const met = loadIsLimit ? undefined : atMost !== undefined ? amqtdd.median <= atMost : atLeast !== undefined && better !== undefined ? better >= atLeast : undefined;
  return { name, amqtdd, mosquitto, better, target, met, loadIsLimit };
}

const row = (cells) => console.log(cells.map((cell, i) => (i === 0 ? cell.padEnd(42) : cell.padStart([0, 30, 30, 10, 12, 5][i]))).join("").trimEnd());

async function printTable() {
  const results = [];
  console.log("");
  row(["", "amqtdd", "mosquitto", "better", "target", ""]);
  for (const run of runsNamed(values.modes?.split(","), scale)) {
    const samples = await sample(run);
    const figures = run.figures.map((figure) => evaluate(figure, samples));
    results.push({ mode: run.name, title: run.title, figures, samples });
    console.log(run.title);
    for (const { name, amqtdd, mosquitto, better, target, met, loadIsLimit } of figures) {
      row([`  ${name}`, `${shownSummary(amqtdd)}${loadIsLimit ? "*" : " "}`, mosquitto ? shownSummary(mosquitto) : "", better ? `${better.toFixed(2)}x` : "", target ?? "", met === undefined ? "" : met ? "yes" : "no"]);
    }
  }
  console.log("\nbetter: how many times less CPU, time or memory, or more messages, by the medians. *: the load's core, which has the broker behind the");
  console.log("bridge too, was 90 % busy or more with amqtdd: that was the limit, and the CPU decides. The load checks each message, its QoS and RETAIN, and each");
  console.log("acknowledgement, and fails when one is lost, out of order or doubled.");
  console.log(failures.length === 0 ? `No run has failed. It took ${Math.round(performance.now() / 1000)} s.` : `FAILED:\n  ${failures.join("\n  ")}`);
  if (failures.length > 0) process.exitCode = 1;
  return results;
}

function print() {
  if (values.soak !== undefined) return printSoak(Number(values.soak));
  if (values.profile !== undefined) return printProfile(values.profile, scale);
  return values.growth ? printGrowth({ brokers, runs, scale }) : printTable();
}

printMachine();
const results = await print();
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ date: new Date().toISOString(), machine, runs, scale, results, failures }, null, 2)}\n`);
