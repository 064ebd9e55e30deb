#!/usr/bin/env node
// dist/amqtdd.js: runs the command, main.script, with what V8 has compiled of it before (main.cache): compiling is a quarter of a start otherwise.
// A cache of another V8, or none, only costs that time.
"use strict";
const { readFileSync } = require("node:fs");
const { join } = require("node:path");
const { getHeapStatistics, setFlagsFromString } = require("node:v8");
const { runInNewContext, Script } = require("node:vm");

// The young generation stays at 2 MiB, and old garbage is collected before it is half as much as what lives: with 10,000 queues being filled RssAnon
// is 90 MiB instead of 170 (doc/durability.md), and the way of a message makes too little garbage to feel it. V8 takes a cache only with the flags
// that it was made with.
setFlagsFromString("--semi-space-growth-factor=1");
setFlagsFromString("--heap-growing-percent=40");
// One thread collects so little as quickly as three; on a single core the one that serves clients would wait for the others.
setFlagsFromString("--no-parallel-scavenge");

const COLLECT_AFTER_MS = 1000;
const MAX_COLLECTED_BYTES = 16 * 1024 * 1024;

function readIfThere(file) {
  try {
    return readFileSync(file);
  } catch {
    return undefined;
  }
}

/** A module of Node that is loaded when something of it is first asked for. */
function loadedLater(name) {
  const get = (_, key) => {
    const loaded = require(name);
    Object.setPrototypeOf(module, loaded);
    return loaded[key];
  };
  const module = Object.create(new Proxy({}, { get }));
  return module;
}

/** A start does without them: loading took a fifth of it. The program imports names from them, never a module itself. */
const later = new Map(["child_process", "crypto", "fs/promises", "module", "os", "readline", "zlib"].map((name) => [name, loadedLater(name)]));

/** What the program gets as `require`. */
const requireLate = Object.assign((name) => later.get(name.replace(/^node:/, "")) ?? require(name), { resolve: require.resolve });

const filename = join(__dirname, "main.script");
const script = new Script(readFileSync(filename, "latin1"), { filename, cachedData: readIfThere(join(__dirname, "main.cache")) });
script.runInThisContext()(requireLate, filename);

/**
 * The cache, and what the start has left, 1.7 MiB: a daemon that has nothing to do would keep it, as nothing makes V8 look for garbage. It takes a
 * millisecond for each MiB that lives: where thousands of sessions do, clients would wait.
 */
function collectStart() {
  if (getHeapStatistics().used_heap_size > MAX_COLLECTED_BYTES) return;
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc");
  setFlagsFromString("--no-expose-gc");
  collect();
}
setTimeout(collectStart, COLLECT_AFTER_MS).unref();

/** For the build, which makes the cache of it. */
module.exports = script;
