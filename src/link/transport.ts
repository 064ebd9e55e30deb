/** What carries a link's bytes: a socket, or the simulation's pipe. */
export interface Transport {
  /** For the log: address and port of the other side. */
  readonly remoteAddress: string;
  /** Bytes handed over and not yet taken by the system. */
  readonly unsentBytes: number;
  /** Changes whenever the other side has taken something of what is unsent. */
  readonly progressMark: number;
  /** Room that `writeNow` wants in front of what it is given, for a header of its own; none if not given. */
  readonly headroomBytes?: number;
  /** Hands over what the system takes at once of the bytes from `start` to `end`, and returns how many; who has nothing to offer here goes without. */
  writeNow?(bytes: Buffer, start: number, end: number): number;
  /** Hands bytes over. They must not change until `done` is called, which may be at once. */
  write(bytes: Buffer, done: () => void): void;
  pause(): void;
  resume(): void;
  /** Sends what is pending, then ends. */
  end(): void;
  /** Ends now; what is pending is lost. */
  destroy(): void;
}

/** What a transport tells its link. */
export interface TransportListener {
  /** The bytes up to `end` (without it: all) have come. They are valid until the call returns. */
  onBytes(bytes: Buffer, end?: number): void;
  onDrain(): void;
  onClose(error: Error | undefined): void;
}
