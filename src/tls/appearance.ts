import { statSync } from "node:fs";
import type { TlsFiles } from "./settings.ts";

/** Differs when a file is another one or has another content: also when a link leads elsewhere. Of a folder: when its list of files differs. */
export function appearance({ certFile, keyFile, caFile, caPath, crlFile, dhParamFile, pskFile }: TlsFiles): string {
  const looks = [certFile, keyFile, caFile, caPath, crlFile, dhParamFile, pskFile].map((file) => {
    try {
      const { dev, ino, size, mtimeMs, ctimeMs } = statSync(file ?? "");
      return `${dev} ${ino} ${size} ${mtimeMs} ${ctimeMs}`;
    } catch {
      return ""; // reading it says why
    }
  });
  return looks.join("\n");
}
