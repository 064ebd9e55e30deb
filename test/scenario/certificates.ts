import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

export const opensslMissing = "skipped: openssl is not installed";

export function opensslAvailable(): boolean {
  return spawnSync("openssl", ["version"]).status === 0;
}

interface Wanted {
  /** `subjectAltName`; default: localhost and 127.0.0.1. */
  readonly names?: string;
  /** Where it ends, days from now; a negative number: it has ended. */
  readonly days?: number;
  /** Default: `/CN=NAME`. */
  readonly subject?: string;
}

export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** A certificate authority in a folder, made with openssl, that signs, revokes and tells what it has revoked. */
export class Authority {
  readonly cert: string;
  readonly crl: string;
  private readonly key: string;
  private readonly config: string;

  constructor(private readonly folder: string, name = "authority") {
    mkdirSync(folder, { recursive: true });
    const at = (file: string): string => path.join(folder, file);
    [this.cert, this.key, this.crl, this.config] = [at("ca.pem"), at("ca.key"), at("crl.pem"), at("ca.conf")];
    writeFileSync(at("index.txt"), "");
    writeFileSync(this.config, `[ca]\ndefault_ca=own\n[own]\ndatabase=${at("index.txt")}\nserial=${at("serial")}\nnew_certs_dir=${folder}\ndefault_md=sha256\npolicy=any\nunique_subject=no\ncopy_extensions=copy\n[any]\ncommonName=optional\norganizationName=optional\norganizationalUnitName=optional\n[req]\ndistinguished_name=dn\n[dn]\n`);
    this.openssl("req", "-x509", "-config", this.config, ...NEW_KEY, "-keyout", this.key, "-out", this.cert, "-days", "3650", "-subj", `/CN=${name}`,
      "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign");
  }

  issue(name: string, { names = "DNS:localhost,IP:127.0.0.1", days = 365, subject = `/CN=${name}` }: Wanted = {}): Certificate {
    const [cert, key, request] = [".pem", ".key", ".csr"].map((end) => path.join(this.folder, `${name}${end}`)) as [string, string, string];
    this.openssl("req", "-config", this.config, ...NEW_KEY, "-keyout", key, "-out", request, "-utf8", "-subj", subject, "-addext", `subjectAltName=${names}`);
    const start = opensslTime(days < 0 ? days - 10 : -1);
    this.openssl("ca", "-config", this.config, "-batch", "-notext", "-utf8", "-preserveDN", "-rand_serial", "-cert", this.cert, "-keyfile", this.key, "-in", request, "-out", cert,
      "-startdate", start, "-enddate", opensslTime(days));
    return { cert, key };
  }

  revoke({ cert }: Certificate): void {
    this.openssl("ca", "-config", this.config, "-cert", this.cert, "-keyfile", this.key, "-revoke", cert);
  }

  /** Writes the list of what is revoked. */
  writeCrl(file = this.crl): void {
    this.openssl("ca", "-config", this.config, "-cert", this.cert, "-keyfile", this.key, "-gencrl", "-crldays", "30", "-out", file);
  }

  get pem(): string {
    return readFileSync(this.cert, "utf8");
  }

  private openssl(...args: string[]): void {
    execFileSync("openssl", args, { stdio: ["ignore", "ignore", "pipe"] });
  }
}

const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"] as const;

function opensslTime(days: number): string {
  return new Date(Date.now() + days * 86_400_000).toISOString().replaceAll(/[-:T]|\.\d+/g, "");
}
