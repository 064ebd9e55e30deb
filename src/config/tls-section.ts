import type { TlsSubject } from "../tls/material.ts";
import { parsePskKey } from "../tls/psk-file.ts";
import type { ClientTls, ServerTls, TlsFiles, TlsManner } from "../tls/settings.ts";
import { isSecure } from "./address.ts";
import type { AddressConfig, TlsPlaces } from "./config.ts";
import type { Keyword } from "./keyword.ts";
import { tlsConnectionKeywords, tlsListenerKeywords } from "./keywords/tls.ts";
import type { Report, Section } from "./section.ts";

const SERVER_WORDS: Readonly<Record<TlsSubject, string>> = {
  certFile: "certfile", keyFile: "keyfile", caFile: "cafile", caPath: "capath", crlFile: "crlfile", dhParamFile: "dhparamfile", pskFile: "psk_file",
  minVersion: "tls_version", ciphers: "ciphers", tls13Ciphers: "ciphers_tls1.3", usesPsk: "psk_hint",
};
const CLIENT_WORDS = {
  certFile: "bridge_certfile", keyFile: "bridge_keyfile", caFile: "bridge_cafile", caPath: "bridge_capath", minVersion: "bridge_tls_version",
  ciphers: "bridge_ciphers", tls13Ciphers: "bridge_ciphers_tls1.3", usesPsk: "bridge_psk",
} as const satisfies Partial<Record<TlsSubject, string>>;

/** With these a connection speaks TLS to addresses that do not say. */
const TRUST_WORDS = ["bridge_cafile", "bridge_capath", "bridge_tls_use_os_certs", "bridge_psk"];

/** The first keyword that asks for something. */
function askedFor(section: Section, keywords: readonly Keyword[]): string | undefined {
  return keywords.find(({ name }) => section.has(name) && section.string(name) !== "false")?.name;
}

const NO_TLS = { tls: undefined, tlsPlaces: new Map() } as const;

/** What a listener's section, or the default listener's keywords, say about TLS; undefined: TCP alone. */
export function buildServerTls(section: Section, global: Section, report: Report): { tls: ServerTls | undefined; tlsPlaces: TlsPlaces } {
  const given = askedFor(section, tlsListenerKeywords);
  const fail = (keyword: string, message: string): void => report(section.place(keyword), section.place(keyword).column, "error", `${keyword} ${message}`);
  const speaksTls = section.has("certfile") || section.has("keyfile") || section.has("psk_hint");
  if (given !== undefined && !speaksTls) fail(given, "needs certfile and keyfile, or psk_hint: without them the listener would not speak TLS");
  if (!speaksTls) return NO_TLS;
  const tls: ServerTls = {
    ...filesOf(section, SERVER_WORDS),
    pskFile: section.has("psk_hint") ? global.path("psk_file") : undefined,
    ...mannerOf(section, SERVER_WORDS),
    requireCertificate: section.boolean("require_certificate"),
    userFrom: section.boolean("use_identity_as_username") ? "identity" : section.boolean("use_subject_as_username") ? "subject" : undefined,
    pskHint: section.string("psk_hint"),
  };
  if (tls.certFile !== undefined && tls.keyFile === undefined) fail("certfile", "needs keyfile");
  if (tls.keyFile !== undefined && tls.certFile === undefined) fail("keyfile", "needs certfile");
  if (tls.usesPsk && tls.pskFile === undefined) fail("psk_hint", "needs a psk_file");
  if (tls.requireCertificate && tls.caFile === undefined && tls.caPath === undefined) fail("require_certificate", "needs cafile or capath: nobody's certificate would be taken");
  if (tls.crlFile !== undefined && !tls.requireCertificate) fail("crlfile", "needs require_certificate: no certificates are asked for");
  const userWord = tls.userFrom === "identity" ? "use_identity_as_username" : "use_subject_as_username";
  if (tls.userFrom !== undefined && !tls.requireCertificate && !tls.usesPsk) fail(userWord, "needs require_certificate, or psk_hint");
  if (tls.userFrom !== undefined && !tls.requireCertificate && tls.certFile !== undefined) fail(userWord, "with a certfile needs require_certificate: not all clients would have a name");
  return { tls, tlsPlaces: placesOf(section, SERVER_WORDS, global) };
}

/** Whether TLS is spoken to addresses of the connection that do not say. */
export const trustsSomebody = (section: Section): boolean => TRUST_WORDS.some((name) => section.has(name) && section.string(name) !== "false");

/** What a connection's section says about TLS; undefined: it is not spoken to any address. */
export function buildClientTls(section: Section, addresses: readonly AddressConfig[], report: Report): { tls: ClientTls | undefined; tlsPlaces: TlsPlaces } {
  const fail = (keyword: string, message: string): void => report(section.place(keyword), section.place(keyword).column, "error", `${keyword} ${message}`);
  const given = askedFor(section, tlsConnectionKeywords);
  if (!addresses.some(({ scheme }) => isSecure(scheme))) {
    if (given !== undefined && addresses.length > 0) {
      fail(given, trustsSomebody(section) ? "and no address with TLS: mqtt:// and ws:// are without" : "needs bridge_cafile, bridge_capath or bridge_psk, or an address with mqtts://: without them TLS is not spoken");
    }
    return NO_TLS;
  }
  const plain = section.list("address").find(({ value }) => /^(mqtt|ws):/i.test(value));
  if (given !== undefined && plain) report(plain, plain.column, "error", `address ${plain.value} is without TLS, and ${given} speaks of it: mqtts:// and wss:// are with it`);
  const [identity, key] = [section.string("bridge_identity"), section.string("bridge_psk")];
  if (key !== undefined && !parsePskKey(key)) fail("bridge_psk", "is not an even number of hexadecimal digits");
  if (key !== undefined && identity === undefined) fail("bridge_psk", "needs bridge_identity");
  if (identity !== undefined && key === undefined) fail("bridge_identity", "needs bridge_psk");
  const tls: ClientTls = {
    ...filesOf(section, CLIENT_WORDS),
    ...mannerOf(section, CLIENT_WORDS),
    insecure: section.boolean("bridge_insecure"),
    alpn: section.string("bridge_alpn"),
    psk: identity === undefined || key === undefined ? undefined : { identity, key },
  };
  if (tls.certFile !== undefined && tls.keyFile === undefined) fail("bridge_certfile", "needs bridge_keyfile");
  if (tls.keyFile !== undefined && tls.certFile === undefined) fail("bridge_keyfile", "needs bridge_certfile");
  const certificates = ["bridge_cafile", "bridge_capath", "bridge_certfile"].find((name) => section.has(name));
  if (key !== undefined && certificates !== undefined) fail("bridge_psk", `and ${certificates} exclude each other`);
  return { tls, tlsPlaces: placesOf(section, CLIENT_WORDS) };
}

type Words = Partial<Record<TlsSubject, string>>;

function filesOf(section: Section, words: Words): TlsFiles {
  const path = (subject: TlsSubject): string | undefined => (words[subject] === undefined ? undefined : section.path(words[subject]));
  return {
    certFile: path("certFile"), keyFile: path("keyFile"), caFile: path("caFile"), caPath: path("caPath"), crlFile: path("crlFile"),
    dhParamFile: path("dhParamFile"), pskFile: undefined,
  };
}

function mannerOf(section: Section, words: Words): TlsManner {
  const value = (subject: TlsSubject): string | undefined => (words[subject] === undefined ? undefined : section.string(words[subject]));
  return {
    minVersion: value("minVersion") === "tlsv1.3" ? "TLSv1.3" : "TLSv1.2",
    ciphers: value("ciphers"),
    tls13Ciphers: value("tls13Ciphers"),
    usesPsk: value("usesPsk") !== undefined,
  };
}

function placesOf(section: Section, words: Words, global = section): TlsPlaces {
  const places = Object.entries(words).map(([subject, keyword]) => {
    const { file, line, column } = (section.has(keyword) ? section : global).place(keyword);
    return [subject as TlsSubject, { file, line, column, keyword }] as const;
  });
  return new Map(places);
}
