import { resolve } from "node:path";
import type { ServerTls } from "../tls/settings.ts";
import { tlsListenerKeywords } from "./keywords/tls.ts";
import type { Report, Section } from "./section.ts";

/** What a listener's section, or the default listener's keywords, say about TLS; undefined: TCP alone. */
export function buildServerTls(section: Section, global: Section, report: Report): ServerTls | undefined {
  const given = tlsListenerKeywords.map(({ name }) => name).find((name) => section.has(name));
  if (given === undefined) return undefined;
  const at = section.place(given);
  const pskHint = section.string("psk_hint");
  const [certFile, keyFile] = [pathOf(section, "certfile"), pathOf(section, "keyfile")];
  if (certFile === undefined && keyFile === undefined && pskHint === undefined) {
    report(at, at.column, "error", `${given} needs certfile and keyfile, or psk_hint: without them the listener would not speak TLS`);
    return undefined;
  }
  return {
    certFile,
    keyFile,
    caFile: pathOf(section, "cafile"),
    caPath: pathOf(section, "capath"),
    crlFile: pathOf(section, "crlfile"),
    dhParamFile: pathOf(section, "dhparamfile"),
    pskFile: pathOf(global, "psk_file"),
    requireCertificate: section.boolean("require_certificate"),
    userFrom: section.boolean("use_identity_as_username") ? "identity" : section.boolean("use_subject_as_username") ? "subject" : undefined,
    pskHint,
    minVersion: section.string("tls_version") === "tlsv1.3" ? "TLSv1.3" : "TLSv1.2",
    ciphers: section.string("ciphers"),
    tls13Ciphers: section.string("ciphers_tls1.3"),
  };
}

function pathOf(section: Section, name: string): string | undefined {
  const value = section.string(name);
  return value === undefined ? undefined : resolve(value);
}
