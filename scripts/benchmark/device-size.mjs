// What a device needs to run the daemon besides Node: all that is in dist/, LevelDB's binding with its packages, and its add-on for this platform.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const root = path.join(import.meta.dirname, "..", "..");

const bytesBelow = (folder, wanted) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && wanted(path.join(entry.parentPath, entry.name)))
    .reduce((sum, entry) => sum + statSync(path.join(entry.parentPath, entry.name)).size, 0);

/** Folders of a package and of all that it depends on. */
function withDependencies(name, from, found = new Map()) {
  const folder = createRequire(path.join(from, "package.json")).resolve.paths(`${name}/package.json`).map((base) => path.join(base, name)).find((one) => statSync(one, { throwIfNoEntry: false }));
  if (found.has(folder)) return found;
  found.set(folder, name);
  const { dependencies = {} } = JSON.parse(readFileSync(path.join(folder, "package.json"), "utf8"));
  for (const dependency of Object.keys(dependencies)) withDependencies(dependency, folder, found);
  return found;
}

/** In bytes. */
export function deviceSize() {
  const bundle = bytesBelow(path.join(root, "dist"), (file) => !file.includes("/types/"));
  const packages = withDependencies("classic-level", path.join(root, "node_modules", "level"));
  const isCode = (file) => /\.js$|package\.json$/.test(file) && !/\/(node_modules|test|deps)\//.test(file);
  const code = [...packages.keys()].reduce((sum, folder) => sum + bytesBelow(folder, (file) => isCode(file.slice(folder.length))), 0);
  const [binding] = [...packages].find(([, name]) => name === "classic-level");
  const addOn = statSync(createRequire(path.join(binding, "package.json"))("node-gyp-build").path(binding)).size;
  return { bundle, code, addOn, total: bundle + code + addOn };
}
