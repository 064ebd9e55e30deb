const BLOCK = /-----BEGIN ([A-Z0-9 ]{1,40})-----[^-]*-----END \1-----/g;

/** The blocks of a PEM file whose label is one of `labels`, each as it stands there. */
export function pemBlocks(text: string, ...labels: readonly string[]): string[] {
  return [...text.matchAll(BLOCK)].filter(([, label = ""]) => labels.includes(label)).map(([block]) => block);
}

/** Whether a block begins in it that does not end: the file is still being written, or was cut off. */
export function isCutOff(text: string): boolean {
  const begun = text.match(/-----BEGIN /g)?.length ?? 0;
  return begun > (text.match(BLOCK)?.length ?? 0);
}

export const CERTIFICATE = ["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"];

/** The bytes of a block. */
export const pemBytes = (block: string): Buffer => Buffer.from(block.replace(/-----[^-]*-----/g, ""), "base64");
