/** The files that one side of TLS is made of; absolute paths. */
export interface TlsFiles {
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
  readonly caFile: string | undefined;
  /** A folder of CA certificates. */
  readonly caPath: string | undefined;
  readonly crlFile: string | undefined;
  readonly dhParamFile: string | undefined;
  /** A line `identity:key` for each client, the key in hexadecimal digits. */
  readonly pskFile: string | undefined;
}

/** What is agreed on in a handshake, whatever the files hold. */
export interface TlsManner {
  /** The lowest version that is spoken. */
  readonly minVersion: "TLSv1.2" | "TLSv1.3";
  /** OpenSSL's list for TLS 1.2; undefined: Node's own. */
  readonly ciphers: string | undefined;
  /** OpenSSL's list of suites for TLS 1.3; undefined: all. */
  readonly tls13Ciphers: string | undefined;
  /** Keys that both sides share are taken, instead of certificates or besides them. */
  readonly usesPsk: boolean;
}

/** The server's side of TLS on one listener. */
export interface ServerTls extends TlsFiles, TlsManner {
  /** Clients without a certificate that the CA files vouch for are refused. */
  readonly requireCertificate: boolean;
  /** What a client's certificate, or its PSK identity, is a user name by; undefined: by nothing. */
  readonly userFrom: "identity" | "subject" | undefined;
  /** Told to clients before they choose their shared key. */
  readonly pskHint: string | undefined;
}

/** The client's side of TLS: a connection to another broker. */
export interface ClientTls extends TlsFiles, TlsManner {
  /** Any name in the server's certificate will do; that somebody trusted vouches for it is checked all the same. */
  readonly insecure: boolean;
  /** Protocol that is offered to a server that tells them apart on one port. */
  readonly alpn: string | undefined;
  /** A shared key instead of certificates; in hexadecimal digits. */
  readonly psk: { readonly identity: string; readonly key: string } | undefined;
}
