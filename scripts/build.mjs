// Bundles the daemon into dist/: amqtdd.js (the command) and index.js (the library).
import { build } from "esbuild";
import { readFileSync, rmSync } from "node:fs";

const root = new URL("..", import.meta.url);
const { version } = JSON.parse(readFileSync(new URL("package.json", root), "utf8"));
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
  // The native add-on finds its binary beside its own package; MQTT.js is imported only by commands that need it.
  external: ["classic-level", "mqtt"],
  banner: { js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);" },
  define: { "process.env.AMQTDD_VERSION": JSON.stringify(version), "process.env.AMQTDD_BUILT": JSON.stringify(new Date().toISOString()) },
  logLevel: "warning",
});
