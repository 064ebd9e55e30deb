// Bundles the daemon into dist/: amqtdd.js (the command) and index.mjs (the library).
import { build } from "esbuild";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";

const root = path.join(import.meta.dirname, "..");
const dist = path.join(root, "dist");
const { version } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8"));

/**
 * The code of classic-level is bundled, its binary stays in its package: as files of their own its sixteen modules would take half the time of a start
 * and, by what they make of V8, 4 MiB of memory.
 */
const levelBinary = {
  name: "level-binary",
  setup({ onLoad, onResolve }) {
    const contents = `module.exports = require("node-gyp-build")(require("node:path").dirname(require.resolve("classic-level/package.json")));`;
    onLoad({ filter: /classic-level[\\/]binding\.js$/ }, () => ({ contents }));
    // Of node:fs/promises, which takes a start 5 ms, it uses this alone.
    const mkdir = `module.exports = { mkdir: async (path, options) => require("node:fs").mkdirSync(path, options) };`;
    onResolve({ filter: /^fs\/promises$/ }, ({ importer, path: name }) => (/classic-level[\\/]index\.js$/.test(importer) ? { path: name, namespace: "level" } : undefined));
    onLoad({ filter: /.*/, namespace: "level" }, () => ({ contents: mkdir }));
  },
};

/** What few need, in files of their own beside the command's one. */
const seldomNeeded = {
  name: "seldom-needed",
  setup({ onResolve }) {
    onResolve({ filter: /^(ws|send)$/ }, ({ path: name }) => ({ path: `./${name}.cjs`, external: true }));
  },
};

const common = {
  absWorkingDir: root,
  outdir: "dist",
  bundle: true,
  platform: "node",
  target: "node20",
  // MQTT.js is imported only by commands that need it.
  external: ["classic-level/package.json", "mqtt"],
  define: { "process.env.AMQTDD_VERSION": JSON.stringify(version), "process.env.AMQTDD_BUILT": JSON.stringify(new Date().toISOString()) },
  logLevel: "warning",
};
const cjs = {
  ...common,
  format: "cjs",
  outExtension: { ".js": ".cjs" },
  minifyWhitespace: true,
  minifySyntax: true,
  supported: { "dynamic-import": false }, // a script that comes from a code cache can't import; it requires when it is asked to
};

/** Makes the code cache by a start of the daemon. Without one everything works as well. */
async function makeCodeCache() {
  const folder = mkdtempSync(path.join(tmpdir(), "amqtdd-build-"));
  try {
    const server = net.createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address();
    server.close();
    const config = path.join(folder, "amqtdd.cfg");
    writeFileSync(config, `listener ${port} 127.0.0.1\nlog_type none\npersistence_location ${folder}/store/\n`);
    const { status, stderr } = spawnSync(process.execPath, [path.join(root, "scripts", "code-cache.cjs"), config, String(port)], { timeout: 60_000, encoding: "utf8" });
    if (status !== 0) console.error(`no code cache: ${stderr}`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

rmSync(dist, { recursive: true, force: true });
await Promise.all([
  build({
    ...cjs,
    entryPoints: { main: "src/main.ts" },
    outExtension: { ".js": ".script" },
    plugins: [levelBinary, seldomNeeded],
    // One function, which the launcher calls: to put it around the text there would copy it.
    banner: { js: "(function (require, __filename) { const __url = require('node:url').pathToFileURL(__filename).href;" },
    footer: { js: "})" },
    define: { ...common.define, "import.meta.url": "__url" },
  }),
  build({ ...cjs, entryPoints: { ws: "node_modules/ws/index.js", send: "node_modules/send/index.js" } }),
  build({ ...common, format: "cjs", entryPoints: { "argon2id-worker": "src/argon2id-worker.ts" } }),
  build({
    ...common,
    entryPoints: { index: "src/index.ts" },
    splitting: true,
    format: "esm",
    outExtension: { ".js": ".mjs" },
    plugins: [levelBinary],
    banner: { js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);" },
  }),
]);
writeFileSync(path.join(dist, "package.json"), '{ "type": "commonjs" }\n');
copyFileSync(path.join(root, "scripts", "launcher.cjs"), path.join(dist, "amqtdd.js"));
chmodSync(path.join(dist, "amqtdd.js"), 0o755);
await makeCodeCache();
