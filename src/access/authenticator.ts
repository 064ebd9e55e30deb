import { createHmac, randomBytes } from "node:crypto";
import type { Passwords } from "./password-file.ts";
import { isSlow, verifyFast, verifySlow, type StoredPassword, type VerifyArgon2id } from "./password-hash.ts";

/**
 * Checks passwords. Slow hashes are computed one at a time beside the event loop, so that the store never waits behind them; what was right
 * once is remembered as a keyed digest, so that a thousand reconnecting sensors of one user cost one computation.
 */
export class Authenticator {
  private readonly key = randomBytes(32);
  private readonly known = new Map<StoredPassword, Buffer>();
  private queue: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly passwords: Passwords,
    private readonly verifyArgon2id: VerifyArgon2id,
  ) {}

  has(user: string): boolean {
    return this.passwords.has(user);
  }

  /** Whether the password is the user's. A promise only if a slow hash has to be computed. */
  check(user: string, password: Buffer, hasGone: () => boolean): boolean | Promise<boolean> {
    const stored = this.passwords.get(user);
    if (!stored) return false;
    if (!isSlow(stored)) return verifyFast(stored, password);
    const digest = createHmac("sha256", this.key).update(password).digest();
    if (this.known.get(stored)?.equals(digest)) return true;
    const checked = this.queue.then(async () => {
      if (this.known.get(stored)?.equals(digest)) return true;
      if (hasGone()) return false;
      const right = await verifySlow(stored, password, this.verifyArgon2id);
      if (right) this.known.set(stored, digest);
      return right;
    });
    this.queue = checked.catch(() => undefined);
    return checked;
  }
}
