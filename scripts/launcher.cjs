#!/usr/bin/env node
// dist/amqtdd.js: runs the command, main.script, with what V8 has compiled of it before (main.cache): compiling is a quarter of a start otherwise.
// A cache of another V8, or none, only costs that time.
"use strict";
const { readFileSync } = require("node:fs");
const { join } = require("node:path");
const { setFlagsFromString } = require("node:v8");
const { Script } = require("node:vm");

// The young generation stays at 2 MiB, and old garbage is collected before it is half as much as what lives: with 10,000 queues being filled RssAnon
// is 90 MiB instead of 170 (doc/durability.md), and the way of a message makes too little garbage to feel it. V8 takes a cache only with the flags
// that it was made with.
setFlagsFromString("--semi-space-growth-factor=1");
setFlagsFromString("--heap-growing-percent=40");

function readIfThere(file) {
  try {
    return readFileSync(file);
  } catch {
    return undefined;
  }
}

const filename = join(__dirname, "main.script");
const script = new Script(readFileSync(filename, "latin1"), { filename, cachedData: readIfThere(join(__dirname, "main.cache")) });
script.runInThisContext()(require, filename);

/** For the build, which makes the cache of it. */
module.exports = script;
