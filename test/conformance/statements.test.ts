import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";

/** Numbers of the normative statements that bind a server, by section; `1-3` is a range. What only clients do is left out. */
const OF_MQTT5: Readonly<Record<string, string>> = {
  "1.5.4": "1-3", "1.5.5": "1", "1.5.7": "1", "2.1.3": "1", "2.2.1": "2-6", "2.2.2": "1",
  "3.1.0": "1-2", "3.1.2": "1-19 22-29", "3.1.3": "1-12", "3.1.4": "1-6", "3.2.0": "1-2", "3.2.2": "1-3 6-10 12-13 16 19 22",
  "3.3.1": "1-13", "3.3.2": "1-9 11-20", "3.3.4": "1-4 6 8-10", "3.4.2": "1", "3.5.2": "1", "3.6.1": "1", "3.6.2": "1", "3.7.2": "1",
  "3.8.1": "1", "3.8.3": "1-5", "3.8.4": "1-8", "3.9.2": "1", "3.9.3": "1-2", "3.10.1": "1", "3.10.3": "1-2", "3.10.4": "1-6", "3.11.2": "1", "3.11.3": "1-2", "3.12.4": "1",
  "3.14.0": "1", "3.14.1": "1", "3.14.2": "1-3", "3.14.4": "1-3", "3.15.1": "1",
  "4.1.0": "1-2", "4.2.0": "1", "4.3.1": "1", "4.3.2": "1-5", "4.3.3": "1-13", "4.4.0": "1-2", "4.5.0": "1", "4.6.0": "5-6", "4.7.0": "1", "4.7.1": "1-2", "4.7.2": "1", "4.7.3": "1-4",
  "4.8.2": "1-6", "4.9.0": "1-3", "4.12.0": "1 6", "4.13.1": "1", "4.13.2": "1",
};
const OF_MQTT311: Readonly<Record<string, string>> = {
  "1.5.3": "1-3", "2.2.2": "1-2", "2.3.1": "1 5-7",
  "3.1.0": "1-2", "3.1.2": "1-22 24", "3.1.3": "1 3-6 8-11", "3.1.4": "1-5", "3.2.0": "1", "3.2.2": "1-5",
  "3.3.1": "1-12", "3.3.2": "1-2", "3.3.4": "1", "3.3.5": "1", "3.6.1": "1",
  "3.8.1": "1", "3.8.3": "1 3-4", "3.8.4": "1-6", "3.9.3": "1-2", "3.10.1": "1", "3.10.3": "1-2", "3.10.4": "1-6", "3.12.4": "1", "3.14.1": "1", "3.14.4": "3",
  "4.1.0": "1", "4.3.1": "1", "4.3.2": "2", "4.3.3": "2", "4.4.0": "1", "4.5.0": "1", "4.6.0": "5-6", "4.7.1": "1-3", "4.7.2": "1", "4.7.3": "1-4", "4.8.0": "1",
};
/** Of both, with the same numbers. */
const OF_WEBSOCKETS: Readonly<Record<string, string>> = { "6.0.0": "1-2 4" };

/**
 * Held by what is never sent: reason strings and user properties in PUBACK, PUBREC, PUBREL, PUBCOMP, UNSUBACK, and user properties in CONNACK, SUBACK and
 * DISCONNECT [MQTT-3.4.2-2] and the like; AUTH [MQTT-3.15.2-1]; more copies than one of a message [MQTT-3.3.4-5].
 */

const test = path.join(import.meta.dirname, "..");

/** All tests' texts whose file names `isMeant`. */
function textOf(isMeant: (name: string) => boolean): string {
  const files = readdirSync(test, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts") && !name.endsWith("statements.test.ts") && isMeant(path.basename(name)));
  return files.map((name) => readFileSync(path.join(test, name), "utf8")).join("\n");
}

function missing(statements: Readonly<Record<string, string>>, text: string): string[] {
  return Object.entries(statements).flatMap(([section, ranges]) =>
    ranges.split(" ").flatMap((range) => {
      const [first = 0, last = first] = range.split("-").map(Number);
      return Array.from({ length: last - first + 1 }, (_, i) => `MQTT-${section}-${first + i}`).filter((id) => !new RegExp(`${id.replaceAll(".", "\\.")}(?!\\d)`).test(text));
    }),
  );
}

describe("every normative statement that binds a server is named by a test", () => {
  it("of MQTT 5", () => expect(missing(OF_MQTT5, textOf((name) => name.includes("5")))).toEqual([]));
  it("of MQTT 3.1.1", () => expect(missing(OF_MQTT311, textOf((name) => !name.includes("5")))).toEqual([]));
  it("of MQTT over WebSockets", () => expect(missing(OF_WEBSOCKETS, textOf((name) => name.includes("web") || name.includes("frames")))).toEqual([]));
});
