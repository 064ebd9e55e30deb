/**
 * Keys of the store; `doc/store-format.md` describes them. Numbers are big-endian, so that keys sort by number.
 * Sessions (a client's or a bridge connection's) and their queues share one number, which is never used again.
 */
const KEY_FORMAT = 0x66; // f
const KEY_SESSION = 0x73; // s
const KEY_SUBSCRIPTION = 0x75; // u
const KEY_INCOMING = 0x69; // i
const KEY_QUEUE = 0x71; // q
/** Behind all others: a table that holds new pages then covers no page that is newer still, and LevelDB need not merge it with those. */
const KEY_PAGE = 0x7a; // z
/** Pages of a later generation, and what tells of them. */
const KEY_GENERATION = 0x7b; // {
const KEY_GENERATIONS = 0x62; // b
const KEY_RETAINED = 0x72; // r
const KEY_GONE = 0x67; // g
const KEY_CONNECTION = 0x63; // c
const KEY_NEXT = 0x6e; // n
const KEY_WILL = 0x77; // w
const KEY_TIME = 0x74; // t
const KEY_RIDERS = 0x6a; // j
const KEY_PADDING = 0x78; // x

/** Number of a session and its queues. */
export type SessionNumber = number;

export interface KeyRange {
  readonly from: Buffer;
  readonly to: Buffer;
}

/** Everything that is no page: few records, or in RAM while the daemon runs. */
export const withoutPages: readonly KeyRange[] = [
  { from: Buffer.from([0]), to: kindRange(KEY_PAGE).from },
  { from: kindRange(KEY_GENERATION).to, to: Buffer.from([0xff]) },
];
export const formatKey = Buffer.from([KEY_FORMAT]);
/** Where small records ride (`Riders`): behind which page, or from which generation on. */
export const ridersKey = Buffer.from([KEY_RIDERS]);
/** Of padding on a page. Nothing reads it: a version that does not know it may write it by itself, as riders are at a start. */
export const paddingKey = Buffer.from([KEY_PADDING]);
/** Which numbers of generations have been used (`Generations`). */
export const generationsKey = Buffer.from([KEY_GENERATIONS]);
/** Whether of all records with this key the last one holds everything, and they are small: then it may ride on a page. */
export const mayRide = (key: Buffer): boolean => key[0] === KEY_QUEUE || key[0] === KEY_INCOMING || key[0] === KEY_TIME;

function numbered(kind: number, session: SessionNumber): Buffer {
  const key = Buffer.allocUnsafe(5);
  key[0] = kind;
  key.writeUInt32BE(session, 1);
  return key;
}

function kindRange(kind: number): KeyRange {
  return { from: Buffer.from([kind]), to: Buffer.from([kind + 1]) };
}

/** The number of the next session, so that none is used again. */
export const nextNumberKey = Buffer.from([KEY_NEXT]);
export const nextNumberRange: KeyRange = kindRange(KEY_NEXT);

/** The time, when it was noted last. */
export const timeKey = Buffer.from([KEY_TIME]);
export const timeRange: KeyRange = kindRange(KEY_TIME);

export const sessionKey = (session: SessionNumber): Buffer => numbered(KEY_SESSION, session);
export const sessionRange: KeyRange = kindRange(KEY_SESSION);

/** One record a subscription: the filter stands in the key. */
export const subscriptionKey = (session: SessionNumber, filter: string): Buffer =>
  Buffer.concat([numbered(KEY_SUBSCRIPTION, session), Buffer.from(filter)]);
export const subscriptionRange: KeyRange = kindRange(KEY_SUBSCRIPTION);

/** Incoming QoS 2 packet identifiers of a session, 256 in a record: `block` is their upper byte. */
export const incomingKey = (session: SessionNumber, block: number): Buffer => Buffer.concat([numbered(KEY_INCOMING, session), Buffer.from([block])]);
export const incomingRange: KeyRange = kindRange(KEY_INCOMING);

/** Progress of one queue (a session's lane). */
export function queueKey(session: SessionNumber, lane: number): Buffer {
  const key = Buffer.allocUnsafe(6);
  key[0] = KEY_QUEUE;
  key.writeUInt32BE(session, 1);
  key[5] = lane;
  return key;
}
export const isQueueKey = (key: Buffer): boolean => key[0] === KEY_QUEUE;
export const queueRange: KeyRange = kindRange(KEY_QUEUE);

/** A page: messages of one queue that were added by one group; the key holds the sequence number of its first message. */
export function pageKey(session: SessionNumber, lane: number, firstSeq: number): Buffer {
  const key = Buffer.allocUnsafe(12);
  key[0] = KEY_PAGE;
  key.writeUInt32BE(session, 1);
  key[5] = lane;
  key.writeUIntBE(firstSeq, 6, 6);
  return key;
}
/** The part of a page's key, as it is in generation 0, that all pages of its queue share. */
export const QUEUE_OF_PAGE_BYTES = 6;
const GENERATION_BYTES = 5;
/** Where a page's key has the number of its session: no session has this one. */
const NO_SESSION = Buffer.alloc(4);

const inGeneration = (generation: number, ...rest: Uint8Array[]): Buffer => Buffer.concat([numbered(KEY_GENERATION, generation), ...rest]);
/** The records of a generation, counted from 0: which queues have pages in it. They stand before those. */
export function generationKey(generation: number, record: number): Buffer {
  const count = Buffer.alloc(4);
  count.writeUInt32BE(record);
  return inGeneration(generation, NO_SESSION, count);
}
/** Where a small record stands that rides in a generation: behind its records, before its pages. */
export const riderKeyIn = (generation: number, key: Uint8Array): Buffer => inGeneration(generation, NO_SESSION, key);
/** The key of such a record when it does not ride. */
export const keyOfRider = (key: Buffer): Buffer => key.subarray(GENERATION_BYTES + NO_SESSION.length);
/** All that rides in a generation. No key begins with 0: that is the first byte of a record's count. */
export const ridersIn = (generation: number): KeyRange => ({ from: riderKeyIn(generation, Buffer.from([1])), to: firstPageOf(generation) });
/** Before all pages of the generation, behind all else. */
export const firstPageOf = (generation: number): Buffer => inGeneration(generation, Buffer.from([0, 0, 0, 1]));
/** Before all that there is of a generation. */
export const startOfGeneration = (generation: number): Buffer => numbered(KEY_GENERATION, generation);
/** All that there is of generations `from` to `before`, the latter not included. */
export const generationsBetween = (from: number, before: number): KeyRange => ({ from: startOfGeneration(from), to: startOfGeneration(before) });
export const MAX_GENERATION = 0xffff_ffff;
/** Where a page, or a bound of a range of pages, stands in a generation. Everything outside the store speaks of pages by their keys in generation 0. */
export const keyIn = (generation: number, page: Buffer): Buffer =>
  generation === 0 ? page : inGeneration(generation, page.subarray(1));
/** Of a page, or of anything else that stands in a generation. */
export const generationOf = (key: Buffer): number => (key[0] === KEY_GENERATION ? key.readUInt32BE(1) : 0);
/** The key of the page in generation 0. */
export const plainKey = (page: Buffer): Buffer =>
  page[0] === KEY_GENERATION ? Buffer.concat([Buffer.from([KEY_PAGE]), page.subarray(GENERATION_BYTES)]) : page;
/** How many bytes of a page's key all pages of its queue and generation share. */
export const bytesBeforeSeq = (page: Buffer): number => QUEUE_OF_PAGE_BYTES + (page[0] === KEY_GENERATION ? GENERATION_BYTES - 1 : 0);
/** The first key that sorts behind `key`. */
export const justBehind = (key: Buffer): Buffer => Buffer.concat([key, ZERO]);
/** Behind all pages of the page's queue, in its generation. */
export const endOfQueue = (page: Buffer): Buffer => Buffer.concat([page.subarray(0, bytesBeforeSeq(page)), LAST_SEQ]);
/** From behind `page` to the end of its queue. */
export const pagesBehind = (page: Buffer): [from: Buffer, to: Buffer] => [justBehind(page), endOfQueue(page)];
const ZERO = Buffer.alloc(1);
const LAST_SEQ = Buffer.alloc(6, 0xff);
/** Where pages stood up to format 2. */
export const OLD_PAGES: KeyRange = kindRange(0x70);
export const isOldPage = (key: Buffer): boolean => key[0] === OLD_PAGES.from[0];
/** The key that such a page has now. */
export function pageKeyOfOld(key: Buffer): Buffer {
  const page = Buffer.from(key);
  page[0] = KEY_PAGE;
  return page;
}
export const isPageKey = (key: Buffer): boolean =>
  key[0] === KEY_PAGE || (key[0] === KEY_GENERATION && (key[5] !== 0 || key[6] !== 0 || key[7] !== 0 || key[8] !== 0));
export const isRetainedKey = (key: Buffer): boolean => key[0] === KEY_RETAINED;
/** A retained message that rides in a generation. */
export const isRetainedRider = (key: Buffer): boolean => generationOf(key) > 0 && !isPageKey(key) && isRetainedKey(keyOfRider(key));
/** Of a key in generation 0. */
export const pageLane = (key: Buffer): number => key[5] ?? 0;
export const holdsMessages = (key: Buffer): boolean => isPageKey(key) || isRetainedKey(key);
/** Small ones stay integers to V8; six bytes read at once never are. */
export function pageSeq(key: Buffer): number {
  const at = bytesBeforeSeq(key);
  const upper = key.readUInt16BE(at);
  const lower = key.readUInt32BE(at + 2);
  return upper === 0 ? lower : upper * 0x1_0000_0000 + lower;
}

/** All pages of all lanes of a session. */
export const pagesOf = (session: SessionNumber): KeyRange => pagesBetween(session, session + 1);

/** All pages of the sessions `from` to `before`, the latter not included. */
export const pagesBetween = (from: SessionNumber, before: SessionNumber): KeyRange => ({
  from: numbered(KEY_PAGE, from),
  to: numbered(KEY_PAGE, before),
});
/** Six bytes of a page's key. */
export const MAX_SEQ = 2 ** 48 - 1;
export const MAX_SESSION_NUMBER: SessionNumber = 0xffff_ffff;

export const retainedKey = (topic: Uint8Array): Buffer => Buffer.concat([Buffer.from([KEY_RETAINED]), topic]);
export const retainedRange: KeyRange = kindRange(KEY_RETAINED);

/** A session that has ended and whose pages are still to be removed. */
export const goneKey = (session: SessionNumber): Buffer => numbered(KEY_GONE, session);
export const goneRange: KeyRange = kindRange(KEY_GONE);

/** A will whose connection is over and which is not published yet. `place`: others of the session wait before it. */
export const willKey = (session: SessionNumber, place: number): Buffer =>
  place === 0 ? numbered(KEY_WILL, session) : Buffer.concat([numbered(KEY_WILL, session), Buffer.from([place])]);
export const placeOfWill = (key: Buffer): number => key[5] ?? 0;
export const willRange: KeyRange = kindRange(KEY_WILL);

/** A bridge connection that was added by a command. */
export const connectionKey = (name: string): Buffer => Buffer.concat([Buffer.from([KEY_CONNECTION]), Buffer.from(name)]);
export const connectionRange: KeyRange = kindRange(KEY_CONNECTION);

/** What `RecordCopy` copies. */
export const copiedRanges: readonly KeyRange[] = [connectionRange, sessionRange, subscriptionRange];
export const isCopied = (key: Buffer): boolean => key[0] === KEY_CONNECTION || key[0] === KEY_SESSION || key[0] === KEY_SUBSCRIPTION;
export const isConnectionKey = (key: Buffer): boolean => key[0] === KEY_CONNECTION;
export const isSubscriptionKey = (key: Buffer): boolean => key[0] === KEY_SUBSCRIPTION;

/** The number that stands in a session, subscription, incoming, queue, page or gone key. */
export const sessionNumberOf = (key: Buffer): SessionNumber => key.readUInt32BE(1);
