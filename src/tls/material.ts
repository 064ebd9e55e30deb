import { readFileSync } from "node:fs";
import type { TlsFiles } from "./settings.ts";

/** What the files of one side of TLS hold, in PEM. */
export interface TlsMaterial {
  readonly cert: string | undefined;
  readonly key: string | undefined;
  /** Undefined: what the system trusts. */
  readonly ca: readonly string[] | undefined;
  readonly crl: readonly string[];
  readonly dhParam: string | undefined;
  readonly psks: ReadonlyMap<string, Buffer>;
}

/** @throws the system's error */
export function readMaterial(files: TlsFiles): TlsMaterial {
  const read = (file: string | undefined): string | undefined => (file === undefined ? undefined : readFileSync(file, "utf8"));
  const ca = read(files.caFile);
  const crl = read(files.crlFile);
  return {
    cert: read(files.certFile),
    key: read(files.keyFile),
    ca: ca === undefined ? undefined : [ca],
    crl: crl === undefined ? [] : [crl],
    dhParam: read(files.dhParamFile),
    psks: new Map(),
  };
}
