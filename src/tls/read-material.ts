import { createPrivateKey, X509Certificate, type KeyObject } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { contextProblem } from "./context.ts";
import { crlEndsMs } from "./crl.ts";
import { CERTIFICATE, isCutOff, pemBlocks } from "./pem.ts";
import type { TlsMaterial, TlsRemark, TlsSubject } from "./material.ts";
import { parsePskFile } from "./psk-file.ts";
import type { TlsFiles, TlsManner } from "./settings.ts";

/** Files of certificates are small; what is larger is something else. */
const MAX_FILE_BYTES = 4 * 1024 * 1024;
const DAY_MS = 86_400_000;
/** A certificate that ends so soon is warned of: those of Let's Encrypt are renewed 30 days before. */
const SOON_DAYS = 21;

/** Reads all files of one side. The material is usable only if no remark is an error. */
export function readMaterial(settings: TlsFiles & TlsManner, nowMs: number): { material: TlsMaterial; remarks: TlsRemark[] } {
  const reader = new MaterialReader(settings, nowMs);
  const material = reader.read();
  return { material, remarks: reader.remarks };
}

class MaterialReader {
  readonly remarks: TlsRemark[] = [];

  constructor(
    private readonly settings: TlsFiles & TlsManner,
    private readonly nowMs: number,
  ) {}

  read(): TlsMaterial {
    const { settings } = this;
    const cert = this.text("certFile");
    const key = this.text("keyFile");
    this.checkPair(cert, key);
    const psk = this.text("pskFile");
    const material = {
      cert,
      key,
      ca: this.authorities(),
      crl: this.revocations(),
      dhParam: this.text("dhParamFile"),
      psks: psk === undefined ? new Map<string, Buffer>() : this.psks(psk),
    };
    if (this.remarks.some(({ severity }) => severity === "error")) return material;
    const problem = contextProblem(settings, material);
    if (problem) this.say(problem.subject, "error", problem.message);
    return material;
  }

  private say(subject: TlsSubject, severity: TlsRemark["severity"], message: string): void {
    this.remarks.push({ subject, severity, message });
  }

  private text(subject: keyof TlsFiles): string | undefined {
    const file = this.settings[subject];
    if (file === undefined) return undefined;
    try {
      const text = readText(file);
      if (isCutOff(text)) this.say(subject, "error", "it is cut off: a block in it does not end");
      return text;
    } catch (error) {
      this.say(subject, "error", messageOf(error));
      return undefined;
    }
  }

  private checkPair(cert: string | undefined, key: string | undefined): void {
    const leaf = cert === undefined ? undefined : this.certificates("certFile", cert)[0];
    const secret = key === undefined ? undefined : this.privateKey(key);
    if (leaf && secret && !leaf.checkPrivateKey(secret)) this.say("keyFile", "error", `it is not the key of ${this.settings.certFile ?? ""}`);
  }

  private privateKey(text: string): KeyObject | undefined {
    try {
      return createPrivateKey(text);
    } catch (error) {
      const isEncrypted = text.includes("ENCRYPTED");
      this.say("keyFile", "error", isEncrypted ? "the key has a passphrase; wanted is one without" : `it holds no private key in PEM (${messageOf(error)})`);
      return undefined;
    }
  }

  /** All certificates of a file; says until when they are valid. */
  private certificates(subject: "certFile" | "caFile", text: string): X509Certificate[] {
    const blocks = pemBlocks(text, ...CERTIFICATE);
    if (blocks.length === 0) this.say(subject, "error", "it holds no certificate in PEM");
    const certificates: X509Certificate[] = [];
    for (const block of blocks) {
      try {
        certificates.push(new X509Certificate(block));
      } catch (error) {
        this.say(subject, "error", `its certificate ${certificates.length + 1} can't be read: ${messageOf(error)}`);
        return certificates;
      }
    }
    for (const certificate of certificates) this.tellValidity(subject, certificate);
    return certificates;
  }

  private tellValidity(subject: TlsSubject, { subject: name, validFrom, validTo }: X509Certificate): void {
    const shown = name?.split("\n").toReversed().join(",") ?? "";
    const beginsMs = Date.parse(validFrom);
    if (beginsMs > this.nowMs) return this.say(subject, "warning", `${shown} is valid from ${dateOf(beginsMs)} on only`);
    this.tellEnd(subject, shown, Date.parse(validTo));
  }

  private tellEnd(subject: TlsSubject, name: string, endsMs: number): void {
    const days = Math.floor((endsMs - this.nowMs) / DAY_MS);
    if (endsMs <= this.nowMs) this.say(subject, "warning", `${name} has expired on ${dateOf(endsMs)}`);
    else if (days < SOON_DAYS) this.say(subject, "warning", `${name} expires on ${dateOf(endsMs)}, in ${days} days`);
    else this.say(subject, "note", `${name} is valid until ${dateOf(endsMs)}`);
  }

  private authorities(): string[] | undefined {
    const { caFile, caPath } = this.settings;
    if (caFile === undefined && caPath === undefined) return undefined;
    const text = this.text("caFile");
    if (text !== undefined) this.certificates("caFile", text);
    const inFile = text === undefined ? [] : pemBlocks(text, ...CERTIFICATE);
    const inFolder = caPath === undefined ? [] : this.folder(caPath);
    return [...new Set([...inFile, ...inFolder])];
  }

  /** All certificates of a folder, whatever its files are called; what is none is passed over. */
  private folder(path: string): string[] {
    const blocks: string[] = [];
    try {
      for (const name of readdirSync(path)) blocks.push(...certificatesIn(join(path, name)));
      if (blocks.length === 0) this.say("caPath", "error", "no file in it holds a certificate in PEM");
    } catch (error) {
      this.say("caPath", "error", messageOf(error));
    }
    return blocks;
  }

  private revocations(): string[] {
    const text = this.text("crlFile");
    if (text === undefined) return [];
    const blocks = pemBlocks(text, "X509 CRL");
    if (blocks.length === 0) this.say("crlFile", "error", "it holds no list of revoked certificates in PEM");
    for (const block of blocks) {
      try {
        const endsMs = crlEndsMs(block);
        if (endsMs !== undefined) this.tellEnd("crlFile", "a list of revoked certificates (without a valid one nobody is let in)", endsMs);
      } catch (error) {
        this.say("crlFile", "error", messageOf(error));
      }
    }
    return blocks;
  }

  private psks(text: string): Map<string, Buffer> {
    const { psks, errors, warnings } = parsePskFile(text);
    for (const message of errors) this.say("pskFile", "error", message);
    for (const message of warnings) this.say("pskFile", "warning", message);
    return psks;
  }
}

function certificatesIn(file: string): string[] {
  try {
    return pemBlocks(readText(file), ...CERTIFICATE);
  } catch {
    return []; // a folder within, a link that leads nowhere
  }
}

/** @throws the system's error */
function readText(file: string): string {
  const { size } = statSync(file);
  if (size > MAX_FILE_BYTES) throw new Error("it is too large for what it should be");
  return readFileSync(file, "utf8");
}

const dateOf = (ms: number): string => new Date(ms).toISOString().slice(0, 10);
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
