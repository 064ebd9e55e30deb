import type { StoreFigures } from "./figures.ts";
import type { SessionNumber } from "./keys.ts";

/** Groups are numbered from 1 and reach the disk in order, each all or nothing. 0 means: nothing to wait for. */
export type GroupNumber = number;

/** What a keeper writes its records into. Bytes and arrays are copied or handed to the store: the keeper must not change them afterwards. */
export interface GroupWriter {
  put(key: Uint8Array, value: Uint8Array): void;
  delete(key: Uint8Array): void;
  /**
   * Deletes pages, of about so many bytes: with this group or a later one, or at the next start. They are of a queue whose record this group writes and says that nothing in
   * them is owed any more, or of a session whose end is stored.
   */
  discard(session: SessionNumber, lane: number, firstSeqs: number[], bytes: number): void;
}

/** Something whose state survives: a queue, a session, the retained set. Asked once per group, when the group closes. */
export interface Keeper {
  /** Writes what changed since the last call. The store sees to it that it reaches the disk, or that no later group is called stored. */
  writeTo(group: GroupWriter): void;
}

/** `synced`: somebody's acknowledgement waits for this change. `soon`: nobody does, the group need not sync for it. */
export type Need = "synced" | "soon";

/**
 * `failed`: writes fail, a reopening is being tried. `full`: too little room, only what frees room is admitted. `absent`: it can't be opened,
 * and nothing is known of what it holds.
 */
export type StoreState = "healthy" | "failed" | "full" | "absent";

export type StoredRecord = readonly [key: Buffer, value: Buffer];

/**
 * What survives. A keeper that changed says so with `touch`; it is asked for its records when the current group closes, so what came and
 * went within one group is never written. While one group is being written the next one collects.
 */
export interface Store {
  /** False for the memory store: nothing need be handed to it. */
  readonly durable: boolean;
  readonly state: StoreState;
  /** The last attempt to write has failed, be it for want of room: nobody knows when anything will be stored. */
  readonly writesFail: boolean;
  readonly figures: Readonly<StoreFigures>;
  /** It was damaged, and what was lost has not all been made up for: records may be older than others that they go with. */
  readonly wasRepaired?: boolean;
  /** All that lies behind such records has been taken up: with the current group it is stored, and later starts need not look for it. */
  recovered?(): void;
  /** Everything up to this group is on disk. */
  readonly stored: GroupNumber;
  /** Returns the number of the group that will hold the change; 0 when nothing need be waited for (memory store). */
  touch(keeper: Keeper, need: Need): GroupNumber;
  onStored(listener: (upTo: GroupNumber) => void): void;
  onState(listener: (state: StoreState) => void): void;
  /** Records with from <= key < to in key order, at least one if there is any, then up to `maxBytes` of values. Sees only written groups. */
  read(from: Uint8Array, to: Uint8Array, maxBytes: number): Promise<StoredRecord[]>;
  /** Closes the current group, waits until all is on disk, closes. */
  close(): Promise<void>;
}
