// Makes dist/main.cache in a process of its own: starts the daemon with the configuration file given and keeps what V8 has compiled for that.
"use strict";
const { writeFileSync } = require("node:fs");
const net = require("node:net");
const { join } = require("node:path");

const [config, port] = process.argv.splice(2);
const dist = join(__dirname, "..", "dist");
process.argv.splice(1, 1, join(dist, "amqtdd.js"), "-c", config);
const script = require(join(dist, "amqtdd.js"));

(function whenListening() {
  net
    .connect(Number(port), "127.0.0.1", () => {
      writeFileSync(join(dist, "main.cache"), script.createCachedData());
      process.kill(process.pid, "SIGTERM");
    })
    .on("error", () => setTimeout(whenListening, 10));
})();
