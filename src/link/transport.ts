/** What carries a link's bytes: a socket, or the simulation's pipe. */
export interface Transport {
  /** For the log: address and port of the other side. */
  readonly remoteAddress: string;
  /** Bytes handed over and not yet taken by the system. */
  readonly unsentBytes: number;
  /** Changes whenever the other side has taken something of what is unsent. */
  readonly progressMark: number;
  /** Hands over what the system takes of the first `length` bytes at once, and returns how many; who has nothing to offer here goes without. */
  writeNow?(bytes: Buffer, length: number): number;
  /** Hands bytes over. They must not change until `done` is called, which may be at once. */
  write(bytes: Buffer, done: () => void): void;
  pause(): void;
  resume(): void;
  /** Sends what is pending, then ends. */
  end(): void;
  /** Ends now; what is pending is lost. */
  destroy(): void;
}

/** What a transport tells its link. Bytes are valid until the call returns. */
export interface TransportListener {
  onBytes(bytes: Buffer): void;
  onDrain(): void;
  onClose(error: Error | undefined): void;
}
