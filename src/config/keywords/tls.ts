import { boolean, oneOf, string, type Keyword } from "../keyword.ts";

/** Keywords of a listener that speaks TLS. Outside a listener section they are the default listener's. */
export const tlsListenerKeywords = [
  { name: "certfile", aliases: [], reload: true, type: string, default: undefined, doc: "The listener's certificate and those that lead to its CA, PEM; with keyfile the listener speaks TLS." },
  { name: "keyfile", aliases: [], reload: true, type: string, default: undefined, doc: "The private key of certfile, PEM, without a passphrase." },
  { name: "cafile", aliases: [], reload: true, type: string, default: undefined, doc: "CA certificates that vouch for clients' certificates, PEM." },
  { name: "capath", aliases: [], reload: true, type: string, default: undefined, doc: "Folder with CA certificates, besides or instead of cafile." },
  { name: "crlfile", aliases: [], reload: true, type: string, default: undefined, doc: "Lists of revoked certificates, PEM: one of each CA between a client and its root." },
  { name: "require_certificate", aliases: [], reload: true, type: boolean, default: false, doc: "Refuse clients without a certificate that cafile or capath vouches for." },
  { name: "use_identity_as_username", aliases: [], reload: true, type: boolean, default: false, doc: "The user name is the common name of the client's certificate, or its PSK identity; user name and password of CONNECT are not looked at." },
  { name: "use_subject_as_username", aliases: [], reload: true, type: boolean, default: false, doc: "The user name is the whole subject of the client's certificate, as in RFC 2253: CN=a,O=b." },
  { name: "tls_version", aliases: [], reload: true, type: oneOf("tlsv1.2", "tlsv1.3"), default: "tlsv1.2", doc: "Lowest version of TLS that is spoken." },
  { name: "ciphers", aliases: [], reload: true, type: string, default: undefined, doc: "Ciphers of TLS 1.2, OpenSSL's list." },
  { name: "ciphers_tls1.3", aliases: [], reload: true, type: string, default: undefined, doc: "Cipher suites of TLS 1.3, parted by colons." },
  { name: "dhparamfile", aliases: [], reload: true, type: string, default: undefined, doc: "Parameters for DHE ciphers, PEM; without it they are not used." },
  { name: "psk_hint", aliases: [], reload: true, type: string, default: undefined, doc: "Take clients with a pre-shared key of psk_file, and tell them this." },
] as const satisfies readonly Keyword[];
