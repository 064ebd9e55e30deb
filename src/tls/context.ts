import type { SecureContextOptions } from "node:tls";
import type { TlsMaterial } from "./material.ts";
import type { TlsManner } from "./settings.ts";

/** Settings and material in Node's words. */
export function contextOptions({ minVersion, ciphers, tls13Ciphers }: TlsManner, { cert, key, ca, crl, dhParam }: TlsMaterial): SecureContextOptions {
  const cipherList = [tls13Ciphers, ciphers].filter((list) => list !== undefined).join(":");
  return {
    minVersion,
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(ca === undefined ? {} : { ca: [...ca] }),
    ...(crl.length === 0 ? {} : { crl: [...crl] }),
    ...(dhParam === undefined ? {} : { dhparam: dhParam }),
    ...(cipherList === "" ? {} : { ciphers: cipherList }),
  };
}
