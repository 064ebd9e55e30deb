import { createHmac, randomBytes } from "node:crypto";
import type { Passwords } from "./password-file.ts";
import { isSlow, verifyFast, verifySlow, type StoredPassword, type VerifyArgon2id } from "./password-hash.ts";

/** Slow checks that wait at one time. */
const MAX_WAITING = 1_000;

/** Who waits for an answer. */
export interface Asker {
  /** Whether a slow check may be begun; it has begun then. */
  mayWait(): boolean;
  /** Whether it is still wanted that the check is made, now that its turn has come. */
  isWanted(): boolean;
}

/**
 * Checks passwords. Slow hashes are computed one at a time beside the event loop, so that the store never waits behind them; what was right
 * once is remembered as a keyed digest, so that a thousand reconnecting sensors of one user cost one computation.
 */
export class Authenticator {
  /** Made when it is first needed, as a start does without node:crypto. */
  private key: Buffer | undefined;
  private readonly known = new Map<StoredPassword, Buffer>();
  /** Checked in the place of a user who does not exist, so that the time tells nobody who does. */
  private readonly decoy: StoredPassword | undefined;
  private queue: Promise<unknown> = Promise.resolve();
  private waiting = 0;

  constructor(
    private readonly passwords: Passwords,
    private readonly verifyArgon2id: VerifyArgon2id,
  ) {
    const all = [...passwords.values()];
    this.decoy = all.find(isSlow) ?? all[0];
  }

  /** Whether the password is the user's. A promise only if a slow hash has to be computed; "busy" if too many wait for that. */
  check(user: string, password: Buffer, asker: Asker): boolean | "busy" | Promise<boolean | "busy"> {
    const own = this.passwords.get(user);
    const stored = own ?? this.decoy;
    if (!stored) return false;
    if (!isSlow(stored)) return verifyFast(stored, password) && own !== undefined;
    this.key ??= randomBytes(32);
    const digest = createHmac("sha256", this.key).update(password).digest();
    const isKnown = (): boolean => own !== undefined && this.known.get(own)?.equals(digest) === true;
    if (isKnown()) return true;
    if (this.waiting >= MAX_WAITING || !asker.mayWait()) return "busy";
    this.waiting += 1;
    const checked = this.queue.then(async () => {
      this.waiting -= 1;
      if (isKnown()) return true;
      if (!asker.isWanted()) return "busy";
      const right = (await verifySlow(stored, password, this.verifyArgon2id)) && own !== undefined;
      if (right) this.known.set(own, digest);
      return right;
    });
    this.queue = checked.catch(() => undefined);
    return checked;
  }
}
