import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import type { VerifyArgon2id } from "./access/password-hash.ts";
import { verifyArgon2id } from "./argon2id.ts";
import type { Dial } from "./bridge/context.ts";
import type { Clock, Rng } from "./clock/clock.ts";
import { SystemClock } from "./clock/system-clock.ts";
import type { ProcessUsage } from "./control/system-topics.ts";
import type { ListenerConfig } from "./config/config.ts";
import { dialBy } from "./dial-by.ts";
import type { Server } from "./listener/listeners.ts";
import { openPort, type PortContext } from "./port.ts";
import { openStore, type StoreOptions } from "./store/open.ts";
import type { Store } from "./store/store.ts";

/** What lies around a daemon and is handed to it: time, chance, disk and network. The simulation brings its own. */
export interface Surroundings {
  readonly clock: Clock;
  readonly rng: Rng;
  readonly hostName: string;
  readonly dial: Dial;
  /** The part behind the configured prefix. */
  newClientId(): string;
  /** Whether commands are taken from a file and a socket beside the store. */
  readonly hasControl: boolean;
  readonly verifyArgon2id: VerifyArgon2id;
  /** What the process takes. */
  usage(): ProcessUsage;
  /** Rejects with StoreError. */
  openStore(options: StoreOptions): Promise<Store>;
  /** Resolves when the port is open; rejects with the system's error. */
  listen(listener: ListenerConfig, context: PortContext): Promise<Server>;
}

export function machine(): Surroundings {
  return {
    clock: new SystemClock(),
    rng: Math.random,
    hostName: hostname(),
    dial: dialBy,
    newClientId: () => randomBytes(12).toString("hex"),
    hasControl: true,
    verifyArgon2id,
    usage,
    openStore,
    listen: openPort,
  };
}

let memory = { heapUsed: 0, rss: 0 };

function usage(): ProcessUsage {
  try {
    memory = process.memoryUsage();
  } catch {
    // It opens a file, and none may be left to open: what it said before must do.
  }
  return { heapBytes: memory.heapUsed, residentBytes: memory.rss, writtenBytes: writtenBytes() };
}

/** Linux counts it. */
function writtenBytes(): number | undefined {
  try {
    const bytes = /^write_bytes: (\d+)$/m.exec(readFileSync("/proc/self/io", "latin1"))?.[1];
    return bytes === undefined ? undefined : Number(bytes);
  } catch {
    return undefined;
  }
}
