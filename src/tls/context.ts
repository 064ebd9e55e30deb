import { createRequire } from "node:module";
import type tls from "node:tls";
import type { TlsMaterial, TlsSubject } from "./material.ts";
import type { TlsManner } from "./settings.ts";

/** Node's own list has no ciphers with shared keys; and who can use one is to do so. */
const PSK_CIPHERS = "PSK+HIGH:HIGH:!aNULL:!eNULL:!MD5:!3DES:!SRP:!CAMELLIA";

/** Settings and material in Node's words. */
export function contextOptions({ minVersion, ciphers, tls13Ciphers, usesPsk }: TlsManner, { cert, key, ca, crl, dhParam }: TlsMaterial): tls.SecureContextOptions {
  return {
    minVersion,
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(ca === undefined ? {} : { ca: [...ca] }),
    ...(crl.length === 0 ? {} : { crl: [...crl] }),
    ...(dhParam === undefined ? {} : { dhparam: dhParam }),
    ...cipherOptions(ciphers ?? (usesPsk ? PSK_CIPHERS : undefined), tls13Ciphers),
  };
}

/** Node takes both lists in one; where only one is given the other stays as it is by default. */
function cipherOptions(ciphers: string | undefined, tls13Ciphers: string | undefined): { ciphers?: string } {
  if (ciphers === undefined && tls13Ciphers === undefined) return {};
  const { DEFAULT_CIPHERS } = nodeTls();
  const usual = DEFAULT_CIPHERS.split(":");
  const old = ciphers ?? usual.filter((name) => !isTls13(name)).join(":");
  return { ciphers: `${tls13Ciphers ?? usual.filter(isTls13).join(":")}:${old}` };
}

const isTls13 = (name: string): boolean => name.startsWith("TLS_");

/** What OpenSSL does not take of all this; undefined: nothing. */
export function contextProblem(manner: TlsManner, material: TlsMaterial): { subject: TlsSubject; message: string } | undefined {
  const without: TlsMaterial = { cert: undefined, key: undefined, ca: undefined, crl: [], dhParam: undefined, psks: new Map() };
  const plain: TlsManner = { ...manner, ciphers: undefined, tls13Ciphers: undefined, usesPsk: false };
  const attempts: readonly (readonly [TlsSubject, TlsManner, TlsMaterial])[] = [
    ["ciphers", { ...plain, ciphers: manner.ciphers }, without],
    ["tls13Ciphers", { ...plain, tls13Ciphers: manner.tls13Ciphers }, without],
    ["dhParamFile", plain, { ...without, dhParam: material.dhParam }],
    ["crlFile", plain, { ...without, crl: material.crl }],
    ["certFile", plain, { ...without, cert: material.cert, key: material.key }],
    ["caFile", manner, material],
  ];
  for (const [subject, ...context] of attempts) {
    try {
      nodeTls().createSecureContext(contextOptions(...context));
    } catch (error) {
      return { subject, message: error instanceof Error ? error.message : String(error) };
    }
  }
  return undefined;
}

/** Loaded with the first use: who has no TLS does without it. */
function nodeTls(): typeof tls {
  return createRequire(import.meta.url)("node:tls") as typeof tls;
}
