/** TLS has failed, or the certificate of the other side: nothing that was said over it. */
export class TlsFailure extends Error {}

/** What OpenSSL means, by its codes. Alerts are the other side's words. */
const REASONS: Readonly<Record<string, string>> = {
  ECONNRESET: "the connection was closed during the handshake",
  ERR_TLS_HANDSHAKE_TIMEOUT: "the handshake took too long",
  ERR_SSL_HTTP_REQUEST: "it speaks HTTP without TLS",
  ERR_SSL_HTTPS_PROXY_REQUEST: "it speaks HTTP without TLS",
  ERR_SSL_WRONG_VERSION_NUMBER: "it does not speak TLS",
  ERR_SSL_UNSUPPORTED_PROTOCOL: "there is no version of TLS that both sides speak",
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: "there is no version of TLS that both sides speak",
  ERR_SSL_NO_SHARED_CIPHER: "there is no cipher that both sides take",
  ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE: "the other side refuses what we offer: ciphers, or a certificate that is missing",
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: "it has shown no certificate",
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: "the other side wants a certificate of us",
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: "the other side does not trust our certificate's CA",
  ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE: "the other side does not take our certificate",
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED: "our certificate has expired, the other side says",
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_REVOKED: "our certificate is revoked, the other side says",
  ERR_SSL_TLSV1_ALERT_UNKNOWN_PSK_IDENTITY: "the other side does not know our PSK identity",
  ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC: "the shared keys differ, or bytes were damaged",
  ERR_TLS_SESSION_ATTACK: "it asked for new keys too often",
  CERT_HAS_EXPIRED: "its certificate has expired",
  CERT_NOT_YET_VALID: "its certificate is not valid yet",
  CERT_REVOKED: "its certificate is revoked",
  CRL_HAS_EXPIRED: "the list of revoked certificates has expired",
  UNABLE_TO_GET_CRL: "there is no list of revoked certificates for its CA",
  DEPTH_ZERO_SELF_SIGNED_CERT: "its certificate is self-signed and not among those that are trusted",
  SELF_SIGNED_CERT_IN_CHAIN: "its certificate is of a CA that is not trusted",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "its certificate is of a CA that is not trusted",
  UNABLE_TO_GET_ISSUER_CERT: "its certificate is of a CA that is not trusted",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "its certificate is of a CA that is not trusted",
};

/** Why TLS has failed, in words. */
export function tlsReason(error: Error & { code?: unknown; reason?: unknown }): string {
  const { code, reason } = error;
  const known = typeof code === "string" ? REASONS[code] : undefined;
  if (known !== undefined) return known;
  // What OpenSSL writes into messages is a line of its source code.
  return typeof reason === "string" && typeof code === "string" && code.startsWith("ERR_SSL_") ? reason : error.message;
}

/** An error of a connection that is up: whether it is TLS that has failed, or what carries it. */
export function explained(error: Error & { code?: unknown }): Error {
  const isOfTls = typeof error.code === "string" && (error.code.startsWith("ERR_SSL_") || error.code.startsWith("ERR_TLS_"));
  return isOfTls ? new TlsFailure(tlsReason(error)) : error;
}
