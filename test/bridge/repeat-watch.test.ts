import { expect, it } from "vitest";
import { RepeatWatch } from "../../src/bridge/repeat-watch.ts";
import { messageOf } from "../../src/queue/message.ts";

/** What is told of messages that go out one after the other, `everyMs`. */
function told(everyMs: number, count: number, payloadOf: (index: number) => string, topicOf: (index: number) => string = () => "t"): string[] {
  const lines: string[] = [];
  const watch = new RepeatWatch((topic, perSecond) => lines.push(`${topic} ${perSecond}/s`));
  for (let index = 0; index < count; index++) {
    watch.note(messageOf(Buffer.from(topicOf(index)), Buffer.from(payloadOf(index)), { qos: 1, retain: false, receivedMs: index * everyMs }));
  }
  return lines;
}

it("tells once an hour of a message that goes out again and again, among others", () => {
  expect(told(20, 1_000, () => "1")).toEqual(["t 50/s"]);
  expect(told(10, 1_000, (index) => String(index % 2))).toEqual(["t 50/s"]);
  expect(told(50, 2 * 72_000, () => "1")).toEqual(["t 20/s", "t 20/s"]);
});

it("says nothing of a value that is repeated now and then, nor of other payloads or topics", () => {
  expect(told(1_000, 5_000, () => "on")).toEqual([]);
  expect(told(1, 50_000, (index) => String(index))).toEqual([]);
  expect(told(1, 50_000, () => "1", (index) => `t${index}`)).toEqual([]);
});

it("tells payloads apart whose beginnings are equal, up to 4 KiB", () => {
  expect(told(1, 50_000, (index) => "x".repeat(4_000) + String(index).padStart(6, "0"))).toEqual([]);
});
