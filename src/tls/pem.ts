const BLOCK = /-----BEGIN ([A-Z0-9 ]{1,40})-----[^-]*-----END \1-----/g;

/** The blocks of a PEM file whose label is one of `labels`, each as it stands there. */
export function pemBlocks(text: string, ...labels: readonly string[]): string[] {
  return [...text.matchAll(BLOCK)].filter(([, label = ""]) => labels.includes(label)).map(([block]) => block);
}

export const CERTIFICATE = ["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"];

/** The bytes of a block. */
export const pemBytes = (block: string): Buffer => Buffer.from(block.replace(/-----[^-]*-----/g, ""), "base64");
