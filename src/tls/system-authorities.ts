import { readFileSync } from "node:fs";
import { CERTIFICATE, pemBlocks } from "./pem.ts";

/** Where systems keep the CA certificates that they trust: Debian and Alpine, Fedora, BSD and macOS. */
const PLACES = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/** The CA certificates that the system trusts, in PEM; undefined where it has none: then Node's own are used. */
export function systemAuthorities(): string[] | undefined {
  for (const file of PLACES) {
    try {
      const blocks = pemBlocks(readFileSync(file, "utf8"), ...CERTIFICATE);
      if (blocks.length > 0) return blocks;
    } catch {
      // the next one
    }
  }
  return undefined;
}
