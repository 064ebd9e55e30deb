import type { QoS } from "../mqtt/protocol.ts";
import { Message } from "../queue/message.ts";
import { Parked, type ParkedMessage } from "../queue/parked.ts";
import type { Queue } from "../queue/queue.ts";
import { recordSize } from "../queue/record.ts";
import type { SessionNumber } from "../store/keys.ts";
import type { GroupNumber, Store } from "../store/store.ts";
import type { Lanes, QueuedMessage } from "./lanes.ts";
import { PARKED_LANE } from "./packet-id.ts";

/** What a session has put aside: messages that its remote answers by closing. */
export class Parking extends Parked {
  constructor(
    session: SessionNumber,
    durable: boolean,
    store: Store,
    onLost: (messages: number) => void,
    private readonly lanes: Lanes,
  ) {
    super(session, PARKED_LANE, durable, store, onLost);
  }

  /**
   * Puts a message aside whose exchange is not over: in one group it leaves its lane and is kept where nothing is sent from. At once if it lies in RAM, as it
   * does on a connection that has come to it. `onParked` is told of it in the same turn. Returns the message; undefined if it has been answered
   * meanwhile, or can't be read, or is not `wanted` any more when it has been. Rejects with StoreError when the store can't be read.
   */
  async park({ lane, seq, isNoted }: QueuedMessage, wanted: () => boolean, onParked: (queue: Queue, qos: QoS, group: GroupNumber) => void): Promise<ParkedMessage | undefined> {
    const queue = this.lanes.get(lane);
    if (!queue?.isOpen(seq, isNoted)) return undefined;
    const message = new Message();
    if (!queue.readFromRam(message, seq) && !(await queue.fetch(message, seq))) return undefined;
    if (!wanted() || !queue.isOpen(seq, isNoted)) return undefined;
    const { qos } = message;
    const parked = { topic: message.topic.toString("utf8", message.topicStart, message.topicEnd), bytes: message.payloadLength, qos };
    this.add(message, lane);
    onParked(queue, qos, queue.takeOut(seq, recordSize(message)));
    return parked;
  }
}
