/** Who publishes or subscribes. Bound anew with each CONNECT; without a checked password there is no user name. */
export interface Identity {
  readonly kind: "client" | "bridge";
  /** The client identifier; for a bridge the name of its connection. */
  readonly id: string;
  /** Authenticated user name; undefined for anonymous clients and bridges. */
  readonly user: string | undefined;
  /** The name was proved by a certificate or a key of TLS: no password file has a say. */
  readonly isProven?: boolean;
}

/** For the console: `client c1 (user fred)`. */
export function identityText({ kind, id, user }: Identity): string {
  const name = `${kind === "bridge" ? "connection" : "client"}${id === "" ? "" : ` ${id}`}`;
  return user === undefined ? name : `${name} (user ${user})`;
}
