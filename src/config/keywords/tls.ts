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

/** Keywords of a connection that speaks TLS. */
export const tlsConnectionKeywords = [
  { name: "bridge_cafile", aliases: [], type: string, default: undefined, doc: "CA certificates that vouch for the remote, PEM; with it TLS is spoken to addresses without mqtt:// or ws://." },
  { name: "bridge_capath", aliases: [], type: string, default: undefined, doc: "Folder with CA certificates, besides or instead of bridge_cafile." },
  { name: "bridge_tls_use_os_certs", aliases: [], type: boolean, default: false, doc: "The CA certificates that the system trusts vouch for the remote; so they do at mqtts:// and wss:// without bridge_cafile or bridge_capath." },
  { name: "bridge_certfile", aliases: [], type: string, default: undefined, doc: "Our certificate, and those that lead to its CA, PEM." },
  { name: "bridge_keyfile", aliases: [], type: string, default: undefined, doc: "The private key of bridge_certfile, PEM, without a passphrase." },
  { name: "bridge_insecure", aliases: [], type: boolean, default: false, doc: "true: the remote's certificate may be of any name, so that whoever has one of a trusted CA can answer for the remote." },
  { name: "bridge_tls_version", aliases: [], type: oneOf("tlsv1.2", "tlsv1.3"), default: "tlsv1.2", doc: "Lowest version of TLS that is spoken." },
  { name: "bridge_ciphers", aliases: [], type: string, default: undefined, doc: "Ciphers of TLS 1.2, OpenSSL's list." },
  { name: "bridge_ciphers_tls1.3", aliases: [], type: string, default: undefined, doc: "Cipher suites of TLS 1.3, parted by colons." },
  { name: "bridge_alpn", aliases: [], type: string, default: undefined, doc: "Protocol that is offered by ALPN: some servers tell MQTT from HTTP by it, on port 443." },
  { name: "bridge_identity", aliases: [], type: string, default: undefined, doc: "Who we are, with bridge_psk." },
  { name: "bridge_psk", aliases: [], type: string, default: undefined, doc: "Key that we share with the remote, in hexadecimal digits, instead of certificates." },
] as const satisfies readonly Keyword[];
