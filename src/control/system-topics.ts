import type { StoreFigures } from "../store/figures.ts";

/** What the daemon knows of itself at one moment. Counts are since its start. */
export interface Figures {
  readonly version: string;
  readonly built: string;
  readonly uptimeMs: number;
  readonly received: Traffic;
  readonly sent: Traffic;
  readonly droppedMessages: number;
  /** Messages that receivers have not got for another reason. */
  readonly losses: { readonly expired: number; readonly oversized: number; readonly refused: number };
  readonly clients: { readonly connected: number; readonly disconnected: number };
  readonly subscriptions: number;
  readonly retainedMessages: number;
  /** Waiting for clients and connections, in flight included. */
  readonly queued: Traffic;
  readonly settings: { readonly maxQueuedMessages: number; readonly maxInflightMessages: number };
  readonly process: ProcessUsage & { readonly maxHeapBytes: number };
  readonly store: { readonly state: string; readonly figures: Readonly<StoreFigures> };
}

export interface Traffic {
  readonly messages: number;
  readonly bytes: number;
}

export interface ProcessUsage {
  readonly heapBytes: number;
  readonly residentBytes: number;
  /** What the system has written to disks for it, in whole pages; undefined where it does not tell. */
  readonly writtenBytes: number | undefined;
}

interface SystemTopic {
  /** Below `$SYS/broker/`. */
  readonly name: string;
  readonly doc: string;
  /** Undefined: the topic is left out. `rate`: how much a figure has grown a second since the last time. */
  readonly value: (now: Figures, rate: Rate) => string | number | undefined;
}

type Rate = (of: (figures: Figures) => number) => number;

const limit = (value: number): number => (value === Infinity ? 0 : value);

/** Names and texts of the original and of mosquitto where they have the figure, ours for the store's. */
export const systemTopics: readonly SystemTopic[] = [
  { name: "version", doc: "Name and version.", value: ({ version }) => `amqtdd ${version}` },
  { name: "timestamp", doc: "When it was built.", value: ({ built }) => built || undefined },
  { name: "uptime", doc: "How long it has been running.", value: ({ uptimeMs }) => `${Math.floor(uptimeMs / 1000)} seconds` },
  { name: "messages/received", doc: "Messages published to it.", value: ({ received }) => received.messages },
  { name: "messages/sent", doc: "Messages that it has sent, repeats included.", value: ({ sent }) => sent.messages },
  { name: "messages/per second/received", doc: "Since the last interval.", value: (_now, rate) => rate(({ received }) => received.messages) },
  { name: "messages/per second/sent", doc: "Since the last interval.", value: (_now, rate) => rate(({ sent }) => sent.messages) },
  { name: "publish/messages/received", doc: "The same as messages/received.", value: ({ received }) => received.messages },
  { name: "publish/messages/sent", doc: "The same as messages/sent.", value: ({ sent }) => sent.messages },
  { name: "publish/messages/dropped", doc: "Messages that a receiver did not get because its queue was full or it did not read.", value: ({ droppedMessages }) => droppedMessages },
  { name: "publish/messages/expired", doc: "Messages whose time was over before a receiver could get them (MQTT 5).", value: ({ losses }) => losses.expired },
  { name: "publish/messages/oversized", doc: "Messages that were larger than a receiver takes (MQTT 5), or a remote.", value: ({ losses }) => losses.oversized },
  { name: "publish/messages/refused", doc: "Messages that a receiver has answered with a reason code of an error (MQTT 5).", value: ({ losses }) => losses.refused },
  { name: "bytes/received", doc: "Bytes of all packets, from clients and remotes.", value: ({ received }) => received.bytes },
  { name: "bytes/sent", doc: "Bytes of all packets, to clients and remotes.", value: ({ sent }) => sent.bytes },
  { name: "bytes/per second/received", doc: "Since the last interval.", value: (_now, rate) => rate(({ received }) => received.bytes) },
  { name: "bytes/per second/sent", doc: "Since the last interval.", value: (_now, rate) => rate(({ sent }) => sent.bytes) },
  { name: "clients/connected", doc: "Clients that are connected.", value: ({ clients }) => clients.connected },
  { name: "clients/disconnected", doc: "Sessions of clients that are not.", value: ({ clients }) => clients.disconnected },
  { name: "clients/total", doc: "Both.", value: ({ clients }) => clients.connected + clients.disconnected },
  { name: "client count/connected", doc: "The original's name for clients/connected.", value: ({ clients }) => clients.connected },
  { name: "client count/disconnected", doc: "The original's name for clients/disconnected.", value: ({ clients }) => clients.disconnected },
  { name: "subscriptions/count", doc: "Subscriptions of clients and connections.", value: ({ subscriptions }) => subscriptions },
  { name: "retained messages/count", doc: "Retained messages, those of $SYS not counted.", value: ({ retainedMessages }) => retainedMessages },
  { name: "store/messages/count", doc: "Messages that are queued, in flight included, and retained ones.", value: ({ queued, retainedMessages }) => queued.messages + retainedMessages },
  { name: "store/messages/bytes", doc: "Bytes of the messages that are queued, as they are stored.", value: ({ queued }) => queued.bytes },
  { name: "heap/current size", doc: "JavaScript heap in use.", value: ({ process }) => `${process.heapBytes} bytes` },
  { name: "heap/maximum size", doc: "The most of it that was seen.", value: ({ process }) => `${process.maxHeapBytes} bytes` },
  { name: "memory/resident size", doc: "Resident memory of the process.", value: ({ process }) => `${process.residentBytes} bytes` },
  { name: "settings/max_queued_messages", doc: "The setting; 0 is no limit.", value: ({ settings }) => limit(settings.maxQueuedMessages) },
  { name: "settings/max_inflight_messages", doc: "The setting.", value: ({ settings }) => limit(settings.maxInflightMessages) },
  { name: "store/state", doc: "`healthy`, `full`, `failed`, `absent` (it can't be opened) or `off`.", value: ({ store }) => store.state },
  { name: "store/bytes/stored", doc: "Message records that were handed to the store: one for each durable receiver, and retained ones.", value: ({ store }) => store.figures.storedBytes },
  { name: "store/bytes/logged", doc: "All records that were written, messages, progress and padding: LevelDB's log without its own framing.", value: ({ store }) => store.figures.loggedBytes },
  { name: "store/bytes/written", doc: "What the system has written to disks for the process, in whole pages: LevelDB's log, tables, compaction and everything else. Linux only.", value: ({ process }) => process.writtenBytes },
  { name: "store/groups", doc: "Groups of changes that were written.", value: ({ store }) => store.figures.groups },
  { name: "store/syncs", doc: "Groups that were synced to the disk.", value: ({ store }) => store.figures.syncs },
  { name: "store/syncs/last ms", doc: "How long the last one took to be written and synced.", value: ({ store }) => store.figures.lastSyncMs.toFixed(1) },
  { name: "store/failures", doc: "Attempts to write that failed.", value: ({ store }) => store.figures.failures },
  { name: "store/compactions", doc: "Slices of deleted records that were compacted.", value: ({ store }) => store.figures.compactions },
  { name: "store/free bytes", doc: "Free room on the store's disk; looked at every few seconds.", value: ({ store }) => store.figures.freeBytes },
  { name: "store/reserve bytes", doc: "Room that is held for a full disk.", value: ({ store }) => store.figures.reserveBytes },
];

/** Turns figures into the texts of topics, those that have changed. */
export class SystemTopics {
  private readonly texts = new Map<string, string>();
  private last: Figures | undefined;

  /** Calls `publish` for each topic whose text is another one than last time. */
  update(now: Figures, publish: (topic: string, text: string) => void): void {
    const { last } = this;
    const seconds = (now.uptimeMs - (last?.uptimeMs ?? 0)) / 1000;
    const rate: Rate = (of) => (seconds <= 0 ? 0 : Math.round((of(now) - (last ? of(last) : 0)) / seconds));
    this.last = now;
    for (const { name, value } of systemTopics) {
      const current = value(now, rate);
      const text = String(current);
      if (current === undefined || this.texts.get(name) === text) continue;
      this.texts.set(name, text);
      publish(`$SYS/broker/${name}`, text);
    }
  }
}

/** `doc/system-topics.md`, in Markdown. */
export function systemTopicsReference(): string {
  return `${[
    "# System topics",
    "Generated from the table in `src/control/system-topics.ts` by `npx vitest run test/control/system-topics.test.ts -u`: change that, not this file.",
    `What the daemon knows of itself is published below \`$SYS/broker/\`, retained, QoS 0: at the start and then every \`sys_interval\` seconds
what has changed. \`#\` does not match these topics; ask for \`$SYS/#\`. Counts are since the start.`,
    ["| topic | value |", "| --- | --- |", ...systemTopics.map(({ name, doc }) => `| \`${name}\` | ${doc} |`)].join("\n"),
    "`$SYS/broker/connection/CLIENTID/state` is 1 while a bridge is connected, else 0; `notification_topic` gives it another name.",
  ].join("\n\n")}\n`;
}
