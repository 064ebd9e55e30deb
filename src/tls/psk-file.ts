/** OpenSSL's bounds. */
const MAX_IDENTITY_BYTES = 128;
const MAX_KEY_BYTES = 256;
const MIN_KEY_BYTES = 16;

/** Reads `identity:key` lines, the key in hexadecimal digits; empty lines and those that begin with # are passed over. */
export function parsePskFile(text: string): { psks: Map<string, Buffer>; errors: string[]; warnings: string[] } {
  const psks = new Map<string, Buffer>();
  const errors: string[] = [];
  const warnings: string[] = [];
  for (const [index, raw] of text.split("\n").entries()) {
    const line = raw.replace(/\r$/, "");
    if (line.trim() === "" || line.startsWith("#")) continue;
    const colon = line.indexOf(":");
    const identity = line.slice(0, Math.max(colon, 0));
    const key = parsePskKey(line.slice(colon + 1).trim());
    const where = `line ${index + 1}`;
    if (identity === "" || !key) errors.push(`${where}: wanted is identity:key, the key in hexadecimal digits`);
    else if (Buffer.byteLength(identity) > MAX_IDENTITY_BYTES) errors.push(`${where}: an identity has at most ${MAX_IDENTITY_BYTES} bytes`);
    else if (psks.has(identity)) warnings.push(`${where}: ${identity} has a key already; this one is ignored`);
    else psks.set(identity, key);
    if (key && key.length < MIN_KEY_BYTES) warnings.push(`${where}: a key of less than ${MIN_KEY_BYTES * 2} digits can be guessed`);
  }
  return { psks, errors, warnings };
}

/** Undefined if it is not an even number of hexadecimal digits, or too long. */
export function parsePskKey(digits: string): Buffer | undefined {
  if (!/^([0-9a-f]{2})+$/i.test(digits) || digits.length > 2 * MAX_KEY_BYTES) return undefined;
  return Buffer.from(digits, "hex");
}
