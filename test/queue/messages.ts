import { messageOf, type Message } from "../../src/queue/message.ts";

/** A message whose topic and payload tell which one it is. */
export function message(number: number, payloadBytes = 10, { retain = false, receivedMs = 1000 + number } = {}): Message {
  return messageOf(Buffer.from(`t/${number}`), Buffer.alloc(payloadBytes, number & 0xff), { qos: 2, retain, receivedMs });
}

export const topicOf = ({ topic, topicStart, topicEnd }: Message): string => topic.toString("utf8", topicStart, topicEnd);
export const payloadOf = ({ payload, payloadStart, payloadEnd }: Message): Buffer => payload.subarray(payloadStart, payloadEnd);
