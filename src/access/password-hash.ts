import { createHash, pbkdf2, randomBytes, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";

/** When it is first called, as a start does without node:crypto. */
function pbkdf2Async(password: Buffer, salt: Buffer, iterations: number): Promise<Buffer> {
  return promisify(pbkdf2)(password, salt, iterations, HASH_BYTES, "sha512");
}

/** A password as a file holds it. The hashed kinds are mosquitto's. */
export type StoredPassword = { readonly text: string } & (
  | { readonly kind: "clear" }
  | { readonly kind: "sha512"; readonly salt: Buffer; readonly hash: Buffer }
  | { readonly kind: "pbkdf2"; readonly iterations: number; readonly salt: Buffer; readonly hash: Buffer }
  | { readonly kind: "argon2id" }
);

const HASH_BYTES = 64;
const SALT_BYTES = 16;
/** About 10 ms on a PC and 60 ms on a Raspberry Pi 4, once for each user: an accepted password is remembered while the daemon runs. */
const ITERATIONS = 20_000;
/** More would keep one CPU busy for seconds with each attempt to log in. */
const MAX_ITERATIONS = 10_000_000;

/** Reads what stands behind `user:`; a string says what is wrong. */
export function parsePassword(text: string): StoredPassword | string {
  if (text.startsWith("$argon2id$")) return { kind: "argon2id", text };
  const [empty, kind, ...fields] = text.split("$");
  if (empty !== "" || (kind !== "6" && kind !== "7")) return { kind: "clear", text };
  const iterations = kind === "7" ? Number(fields.shift()) : 1;
  const [salt = "", hash = ""] = fields;
  const saltBytes = Buffer.from(salt, "base64");
  const hashBytes = Buffer.from(hash, "base64");
  if (fields.length !== 2 || saltBytes.length === 0 || hashBytes.length !== HASH_BYTES) return `a damaged $${kind}$ hash`;
  if (kind === "6") return { kind: "sha512", text, salt: saltBytes, hash: hashBytes };
  if (!Number.isInteger(iterations) || iterations < 1 || iterations > MAX_ITERATIONS) return `a $7$ hash needs 1 to ${MAX_ITERATIONS} iterations`;
  return { kind: "pbkdf2", text, iterations, salt: saltBytes, hash: hashBytes };
}

/** A line's part behind `user:`, in mosquitto's `$7$` form (PBKDF2, SHA-512). */
export async function hashPassword(password: Buffer): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  const hash = await pbkdf2Async(password, salt, ITERATIONS);
  return `$7$${ITERATIONS}$${salt.toString("base64")}$${hash.toString("base64")}`;
}

/** Whether a check takes so long that it must not be made on the event loop. */
export function isSlow(stored: StoredPassword): boolean {
  return stored.kind === "pbkdf2" || stored.kind === "argon2id";
}

export function verifyFast(stored: StoredPassword, password: Buffer): boolean {
  if (stored.kind === "clear") return equal(sha512(Buffer.from(stored.text)), sha512(password));
  if (stored.kind === "sha512") return equal(stored.hash, sha512(password, stored.salt));
  return false;
}

/** Argon2id in a worker: the hash that gives `encoded`, compared there. */
export type VerifyArgon2id = (encoded: string, password: Buffer) => Promise<boolean>;

export async function verifySlow(stored: StoredPassword, password: Buffer, verifyArgon2id: VerifyArgon2id): Promise<boolean> {
  if (stored.kind === "pbkdf2") {
    return equal(stored.hash, await pbkdf2Async(password, stored.salt, stored.iterations));
  }
  return stored.kind === "argon2id" ? verifyArgon2id(stored.text, password) : verifyFast(stored, password);
}

/** Also hides how long a clear password is. */
function sha512(password: Buffer, salt?: Buffer): Buffer {
  const hash = createHash("sha512").update(password);
  return (salt ? hash.update(salt) : hash).digest();
}

function equal(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}
