import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { TlsFiles } from "./settings.ts";

/** Differs when a file is another one or has another content: also when a link leads elsewhere, and for each file of a folder. */
export function appearance({ certFile, keyFile, caFile, caPath, crlFile, dhParamFile, pskFile }: TlsFiles): string {
  const inFolder = caPath === undefined ? [] : namesIn(caPath).map((name) => join(caPath, name));
  return [certFile, keyFile, caFile, caPath, crlFile, dhParamFile, pskFile, ...inFolder].map(look).join("\n");
}

function look(file = ""): string {
  try {
    const { dev, ino, size, mtimeMs, ctimeMs } = statSync(file);
    return `${dev} ${ino} ${size} ${mtimeMs} ${ctimeMs}`;
  } catch {
    return ""; // reading it says why
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
