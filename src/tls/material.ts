import type { TlsFiles, TlsManner } from "./settings.ts";

/** What the files of one side of TLS hold, in PEM. */
export interface TlsMaterial {
  readonly cert: string | undefined;
  readonly key: string | undefined;
  /** Undefined: what the system trusts. */
  readonly ca: readonly string[] | undefined;
  readonly crl: readonly string[];
  readonly dhParam: string | undefined;
  readonly psks: ReadonlyMap<string, Buffer>;
}

/** Which setting something is said about. */
export type TlsSubject = keyof TlsFiles | keyof TlsManner;

/** What is wrong with a file, or only to be known (`note`): until when a certificate is valid. */
export interface TlsRemark {
  readonly subject: TlsSubject;
  readonly severity: "error" | "warning" | "note";
  readonly message: string;
}
