import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Log, type LogLevel, logLevels } from "../../src/log/console.ts";
import { type MessageKey, messages } from "../../src/log/messages.ts";

const zoneBefore = process.env["TZ"];
beforeAll(() => {
  process.env["TZ"] = "Asia/Kathmandu"; // 5:45 ahead, no summer time
});
afterAll(() => {
  if (zoneBefore === undefined) delete process.env["TZ"];
  else process.env["TZ"] = zoneBefore;
});

function logAt(level: LogLevel, wallMs = Date.UTC(2026, 0, 2, 3, 4, 5, 6)): { log: Log; lines: string[] } {
  const lines: string[] = [];
  return { log: new Log((line) => lines.push(line), { wallMs: () => wallMs }, level), lines };
}

describe("a console line", () => {
  it("is `YYYYMMDD HHMMSS.mmm CWNANnnnnL text`, in local time", () => {
    const { log, lines } = logAt("info");
    log.write("listening", { port: 1883 });
    log.write("banner", {});
    log.write("bridgeBackToPrimary", { name: "c", address: "h:1" });
    expect(lines).toEqual([
      "20260102 084905.006 CWNAN0014I MQTT protocol starting, listening on port 1883",
      "20260102 084905.006 CWNAN9999I amqtdd, an MQTT daemon for devices",
      "20260102 084905.006 CWNAN0000I Connection c goes back to its first address h:1",
    ]);
  });

  it("has the date of the place, not Greenwich's", () => {
    const { log, lines } = logAt("info", Date.UTC(2026, 11, 31, 18, 15, 0, 120));
    log.write("stopped", {});
    expect(lines).toEqual(["20270101 000000.120 CWNAN0047I The daemon has stopped"]);
  });

  it("shows control characters of a client's name as what they are, and braces as they came", () => {
    const { log, lines } = logAt("info");
    log.write("clientDisconnect", { client: "a\u001b[31m\r\n\u007f\u009bé{client}$&" });
    expect(lines[0]?.slice(31)).toBe("Client a\\x1b[31m\\x0d\\x0a\\x7f\\x9bé{client}$& has disconnected");
  });

  it("is written when it is of the level or above", () => {
    const examples: readonly MessageKey[] = ["stopped", "persistenceOff", "storeFull", "storeSetAside"]; // I, W, E, S
    const written = (level: LogLevel): number => {
      const { log, lines } = logAt(level);
      for (const key of examples) log.write(key as "persistenceOff", {});
      return lines.length;
    };
    expect(logLevels.map((level) => [level, written(level)])).toEqual([
      ["config", 4], ["detail", 4], ["info", 4], ["audit", 3], ["warning", 3], ["error", 2], ["severe", 1], ["fatal", 0],
    ]);
  });

  it("follows a level that is changed, and is told to who listens", () => {
    const { log, lines } = logAt("error");
    const heard: unknown[] = [];
    log.onLine = (...line) => heard.push(line);
    log.write("stopped", {});
    log.setLevel("info");
    expect(log.level).toBe("info");
    log.write("stopped", {});
    expect(lines.length).toBe(1);
    expect(heard).toEqual([[lines[0], "I", 47]]);
  });
});

describe("lines that a peer can cause as often as it likes", () => {
  it("are written twenty times in ten seconds, each kind for itself; later it is said how many there were", () => {
    const lines: string[] = [];
    let wallMs = Date.UTC(2026, 0, 2);
    const log = new Log((line) => lines.push(line.slice(20)), { wallMs: () => wallMs }, "info");
    const cause = (times: number): void => {
      for (let id = 1; id <= times; id++) log.writeSome("ackUnknownId", { client: "c", id });
    };
    cause(1000);
    expect(lines.length).toBe(20);
    log.writeSome("bridgeUnmatchedIn", { name: "b", topic: "t" });
    expect(lines.splice(0).at(-1)).toContain("CWNAN0135W");
    wallMs += 9_999;
    cause(1);
    expect(lines).toEqual([]);
    wallMs += 1;
    cause(1);
    expect(lines.splice(0)).toEqual(["CWNAN0384W 981 more lines like CWNAN0050W were left out", "CWNAN0050W Client c acknowledged message 1, which it was not sent or has acknowledged already"]);
    wallMs -= 60_000; // the wall clock is set
    cause(1);
    expect(lines.length).toBe(1);
  });
});

/** Numbers and letters of the original for what it, too, had to say. */
const ORIGINAL: Partial<Record<MessageKey, string>> = {
  commandFile: "68I", systemRetained: "65A", bridgeDuplicateId: "56W", queueDropped: "64W",
  bridgeBackToPrimary: "0I", internalError: "13S", listening: "14I", listenerFailed: "15W", listenerStopped: "16I",
  socketError: "18W", badPacket: "19W", badPacketUnknown: "21W", firstPacketNotConnect: "23W", keepAliveExpired: "24I", connectRefused: "31W",
  unsupportedVersion: "32W", clientConnecting: "33I", duplicateClientId: "34I", clientDisconnect: "38I", uptime: "42I", queueFull: "45W", queueNearlyFull: "145W", queueBelowLimit: "146I",
  stopping: "46I", stopped: "47I", configFile: "49I", ackUnknownId: "50W", version: "53I", features: "54I", bridgeDeleted: "57I",
  noSuchBridge: "59I", bridgeStopping: "60I", bridgeCannotStop: "61W", bridgeStopped: "62I", bridgeIdle: "63I", bridgePlainProtocol: "99I",
  bridgeStarting: "124I", bridgeConnecting: "127I", bridgeConnectTimeout: "128I", bridgeConnectFailed: "130W", bridgeRefused: "132W",
  bridgeEstablished: "133I", bridgeUnmatchedIn: "135W", listenerFull: "141W", bridgePingTimeout: "143I", publishDenied: "149A",
  subscribeDenied: "150A", invalidFilter: "153W", bridgeRetry: "154I", banner: "9999I",
};

describe("message numbers", () => {
  const catalogue = Object.entries(messages);

  it.each(Object.entries(ORIGINAL))("of %s are the original's: %s", (key, number) => {
    const { id, level } = messages[key as MessageKey];
    expect(`${id}${level}`).toBe(number);
  });

  it("of our own begin at 300", () => {
    const ours = catalogue.filter(([key]) => !(key in ORIGINAL));
    expect(ours.length).toBeGreaterThan(0);
    expect(ours.filter(([, { id }]) => id < 300 || id > 9000).map(([key]) => key)).toEqual([]);
  });

  it("stand for one message each", () => {
    expect(new Set(catalogue.map(([, { id }]) => id)).size).toBe(catalogue.length);
  });

  it("go with a text of one line, whose values are all put in", () => {
    for (const [key, { text }] of catalogue) {
      const names = [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1] ?? "");
      const { log, lines } = logAt("config");
      log.write(key as "listening", Object.fromEntries(names.map((name) => [name, `<${name}>`])) as { port: string });
      expect(lines[0]).toMatch(/^\d{8} \d{6}\.\d{3} CWNAN\d{4}[CDIAWESF] [^{}\n]+$/);
      for (const name of names) expect(lines[0]).toContain(`<${name}>`);
    }
  });
});
