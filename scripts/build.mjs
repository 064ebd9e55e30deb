// Bundles the daemon into dist/: amqtdd.js (the command) and index.js (the library).
import { build } from "esbuild";
import { readFileSync, rmSync } from "node:fs";

const root = new URL("..", import.meta.url);
const { version } = JSON.parse(readFileSync(new URL("package.json", root), "utf8"));

/**
 * The code of classic-level is bundled, its binary stays in its package: as files of their own its sixteen modules would take half the time of a start
 * and, by what they make of V8, 4 MiB of memory.
 */
const levelBinary = {
  name: "level-binary",
  setup({ onLoad }) {
    const contents = `module.exports = require("node-gyp-build")(require("node:path").dirname(require.resolve("classic-level/package.json")));`;
    onLoad({ filter: /classic-level[\\/]binding\.js$/ }, () => ({ contents }));
  },
};

rmSync(new URL("dist", root), { recursive: true, force: true });
await build({
  absWorkingDir: root.pathname,
  entryPoints: { amqtdd: "src/main.ts", index: "src/index.ts", "argon2id-worker": "src/argon2id-worker.ts" },
  outdir: "dist",
  bundle: true,
  splitting: true,
  platform: "node",
  target: "node20",
  format: "esm",
  // MQTT.js is imported only by commands that need it.
  external: ["classic-level/package.json", "mqtt"],
  plugins: [levelBinary],
  banner: { js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);" },
  define: { "process.env.AMQTDD_VERSION": JSON.stringify(version), "process.env.AMQTDD_BUILT": JSON.stringify(new Date().toISOString()) },
  logLevel: "warning",
});
