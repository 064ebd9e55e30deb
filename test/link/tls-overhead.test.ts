import { EventEmitter } from "node:events";
import type net from "node:net";
import type { TLSSocket } from "node:tls";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { watchOverhead } from "../../src/link/tls-overhead.ts";
import { TlsFailure } from "../../src/link/tls-reason.ts";

/** A TLS connection as its counters show it. Node can't send what is judged here. */
class Counted extends EventEmitter {
  readonly carrier = { bytesRead: 3_000 };
  bytesRead = 0;
  failure: Error | undefined;

  constructor() {
    super();
    watchOverhead(this as unknown as TLSSocket, this.carrier as unknown as net.Socket);
  }

  destroy(failure: Error): void {
    this.failure = failure;
    this.emit("close");
  }

  receive(carriedBytes: number, contentBytes: number): void {
    this.carrier.bytesRead += carriedBytes;
    this.bytesRead += contentBytes;
  }
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const look = (): void => void vi.advanceTimersByTime(500);

it("ends a connection on which key updates come and hardly anything else, whatever came before", () => {
  const [flood, mixed, other] = [new Counted(), new Counted(), new Counted()];
  for (const connection of [flood, mixed, other]) connection.receive(50_000_000, 49_000_000);
  look();
  flood.receive(100_000, 0);
  mixed.receive(1_000_000, 10_000);
  look();
  expect(flood.failure).toBeInstanceOf(TlsFailure);
  expect(mixed.failure).toBeInstanceOf(TlsFailure);
  expect(other.failure).toBeUndefined();
  expect(vi.getTimerCount()).toBe(1);
  other.emit("close");
  expect(vi.getTimerCount()).toBe(0);
});

it("lets records of one byte pass, and some key updates", () => {
  const [small, renewing] = [new Counted(), new Counted()];
  for (let i = 0; i < 20; i++) {
    small.receive(23 * 50_000, 50_000);
    renewing.receive(60_000, 0);
    look();
  }
  expect([small.failure, renewing.failure]).toEqual([undefined, undefined]);
  for (const connection of [small, renewing]) connection.emit("close");
});
