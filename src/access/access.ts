import { dependsOnId, rightsOf, type Rights } from "./acl.ts";
import type { AclFile } from "./acl-file.ts";
import { Authenticator, type Asker } from "./authenticator.ts";
import type { Identity } from "./identity.ts";
import type { Passwords } from "./password-file.ts";
import type { VerifyArgon2id } from "./password-hash.ts";

/** Who may connect and what they may do, as the files say it. */
export interface AccessRules {
  /** Undefined: credentials are not asked for and not looked at. */
  readonly passwords: Passwords | undefined;
  /** Where a client's listener does not say otherwise. */
  readonly allowAnonymous: boolean;
  /** Beginnings that client identifiers must have; empty: any. */
  readonly clientIdPrefixes: readonly string[];
  /** Undefined: everybody may do everything. */
  readonly acl: AclFile | undefined;
}

export const OPEN_TO_ALL: AccessRules = { passwords: undefined, allowAnonymous: true, clientIdPrefixes: [], acl: undefined };

/** Why a CONNECT is refused. */
export type Refusal = "credentials" | "anonymous" | "busy" | "identifier";

export type Admission = Identity | Refusal;

const PATIENT: Asker = { mayWait: () => true, isWanted: () => true };

const MAX_AUTHORS = 4096;
const MAX_SHARED = 4096;

/** The rules in force. Never changed: new files make a new one. */
export class Access {
  private readonly authenticator: Authenticator | undefined;
  private readonly authors = new Map<string, Rights | undefined>();
  /** By user, for all of a user's clients, if the rules don't ask for their identifiers; under no name those of anonymous clients. */
  private readonly shared = new Map<string | undefined, Rights>();

  constructor(
    readonly rules: AccessRules,
    verifyArgon2id: VerifyArgon2id,
  ) {
    this.authenticator = rules.passwords && new Authenticator(rules.passwords, verifyArgon2id);
  }

  /** Whether user names and passwords are looked at. */
  get asksForPasswords(): boolean {
    return this.authenticator !== undefined;
  }

  /** Judges a client's CONNECT; a promise only if a slow password hash has to be computed. `allowAnonymous`: what its listener says. */
  admit(
    clientId: string, username: string | undefined, password: Buffer | undefined, asker: Asker = PATIENT, allowAnonymous = this.rules.allowAnonymous,
  ): Admission | Promise<Admission> {
    const { authenticator } = this;
    if (!authenticator || username === undefined) return allowAnonymous ? this.identify(clientId, undefined) : "anonymous";
    if (password === undefined) return "credentials";
    const right = authenticator.check(username, password, asker);
    const verdict = (answer: boolean | "busy"): Admission => (answer === "busy" ? answer : answer ? this.identify(clientId, username) : "credentials");
    return right instanceof Promise ? right.then(verdict) : verdict(right);
  }

  /** Judges the CONNECT of a client whose user name has been proved before. */
  admitProven(clientId: string, user: string): Admission {
    return this.allowsClientId(clientId) ? { kind: "client", id: clientId, user, isProven: true } : "identifier";
  }

  private identify(clientId: string, user: string | undefined): Admission {
    return this.allowsClientId(clientId) ? { kind: "client", id: clientId, user } : "identifier";
  }

  private allowsClientId(clientId: string): boolean {
    const { clientIdPrefixes } = this.rules;
    return clientIdPrefixes.length === 0 || clientIdPrefixes.some((prefix) => clientId.startsWith(prefix));
  }

  /** Whether a client that `before` had admitted may stay. `allowAnonymous`: what its listener says. */
  stillAdmits({ id, user, isProven = false }: Identity, before: Access, allowAnonymous = this.rules.allowAnonymous): boolean {
    if (!this.allowsClientId(id)) return false;
    if (isProven) return true;
    const { passwords } = this.rules;
    if (!passwords || user === undefined) return allowAnonymous;
    const known = passwords.get(user);
    return known !== undefined && known.text === before.rules.passwords?.get(user)?.text;
  }

  /** What the identity may do; undefined: everything. */
  rightsOf(identity: Identity): Rights | undefined {
    const { rules: { acl }, shared } = this;
    if (!acl || dependsOnId(acl, identity)) return acl && rightsOf(acl, identity);
    const { user } = identity;
    const known = shared.get(user);
    if (known) return known;
    if (shared.size >= MAX_SHARED) shared.clear();
    const rights = rightsOf(acl, identity);
    if (rights) shared.set(user, rights);
    return rights;
  }

  /** Whether somebody who published earlier may still write to the topic. */
  mayStillWrite(author: Identity, topicName: string): boolean {
    if (!this.rules.acl) return true;
    const key = JSON.stringify([author.kind, author.id, author.user]);
    if (!this.authors.has(key)) {
      if (this.authors.size >= MAX_AUTHORS) this.authors.clear();
      this.authors.set(key, this.rightsOf(author));
    }
    return this.authors.get(key)?.mayWrite(topicName) ?? true;
  }
}
