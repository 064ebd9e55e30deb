/** CONNECT packets that are not whole yet, of all connections together. */
const MAX_HANDSHAKE_BYTES = 4 * 1024 * 1024;
/** Output that waits for peers to read it; beyond it each peer has only its small share. */
const MAX_UNSENT_BYTES = 64 * 1024 * 1024;
/** More than the acknowledgements that one read brings of a usual window. */
const BURST_BYTES = 1024;

/** What all links hold together: bounds that hold however many peers there are. */
export class LinkTotals {
  handshakeBytes = 0;
  unsentBytes = 0;

  get handshakesExceeded(): boolean {
    return this.handshakeBytes > MAX_HANDSHAKE_BYTES;
  }

  get unsentExceeded(): boolean {
    return this.unsentBytes > MAX_UNSENT_BYTES;
  }
}

/** What all links have carried since the start. */
export class LinkTraffic {
  receivedBytes = 0;
  sentBytes = 0;
  sentMessages = 0;
  /** Called once, by the first read that brings many messages. */
  onFirstBurst: ((traffic: LinkTraffic) => void) | undefined;

  /** One read has brought them. */
  receive(bytes: number): void {
    this.receivedBytes += bytes;
    if (this.onFirstBurst === undefined || bytes < BURST_BYTES) return;
    this.onFirstBurst(this);
    this.onFirstBurst = undefined;
  }
}
