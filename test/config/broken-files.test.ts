import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";

const program = path.join(import.meta.dirname, "..", "..", "dist", "amqtdd.js");

const folder = mkdtempSync(path.join(tmpdir(), "amqtdd-broken-"));

afterAll(() => rmSync(folder, { recursive: true }));

interface BrokenFile {
  readonly what: string;
  readonly file: readonly string[];
  /** Everything that `amqtdd check` prints. */
  readonly output: readonly string[];
  /** 1: the daemon would not start with it. */
  readonly code: 0 | 1;
}

// No port here is opened: the files are only read.
const files: readonly BrokenFile[] = [
  {
    what: "a misspelt keyword",
    file: ["listener 1884 127.0.0.1", "  max_inflight_mesages 20"],
    output: ["f.cfg:2:3: error: unknown keyword max_inflight_mesages; did you mean max_inflight_messages?"],
    code: 1,
  },
  {
    what: "bad values of five kinds, all of them told",
    file: [
      "max_queued_messages many", "log_level verbose", "connection_messages maybe", "listener 1884 127.0.0.1", "connection c", "address h", "start_type sometimes",
      "topic # sideways",
    ],
    output: [
      "f.cfg:1:21: error: max_queued_messages many: wanted is a whole number (messages), 0 or -1 for no limit",
      "f.cfg:2:11: error: log_level verbose: wanted is one of config, detail, info, audit, warning, error, severe, fatal",
      "f.cfg:3:21: error: connection_messages maybe: wanted is true or false",
      "f.cfg:7:12: error: start_type sometimes: wanted is one of automatic, manual, lazy, once",
      "f.cfg:8:9: error: topic direction sideways: wanted is one of in, out, both",
    ],
    code: 1,
  },
  {
    what: "missing values",
    file: ["listener 1884 127.0.0.1", "mount_point", "connection c", "address", "topic", "connection", "listener"],
    output: [
      "f.cfg:2:1: error: mount_point needs a value: text",
      "f.cfg:4:1: error: address needs a value: text",
      "f.cfg:5:1: error: topic needs a pattern",
      "f.cfg:6:1: error: connection needs a name",
      "f.cfg:7:1: error: listener needs a port",
    ],
    code: 1,
  },
  {
    what: "a bad topic filter, A1.11: figure 38 as it is printed, which has no address either",
    file: [
      "listener 1884", "mount_point meters/building01/", "listener 1885", "mount_point meters/building02/", "connection Daemon1", "topic meters+/power out",
    ],
    output: [
      "f.cfg:1:1: warning: the listener on port 1884 can be used by anyone who reaches it",
      "f.cfg:3:1: warning: the listener on port 1885 can be used by anyone who reaches it",
      "f.cfg:5:1: error: connection Daemon1 has no address",
      "f.cfg:6:7: error: topic filter meters+/power: '+' must stand alone in its level: did you mean meters/+/power?",
    ],
    code: 1,
  },
  {
    what: "a connection that is there twice",
    file: ["listener 1884 127.0.0.1", "connection c", "address h", "topic # out", "connection c", "address i", "topic # out"],
    output: ["f.cfg:5:1: error: connection c is defined twice"],
    code: 1,
  },
  {
    what: "a connection without an address",
    file: ["listener 1884 127.0.0.1", "connection Daemon1", "topic #"],
    output: ["f.cfg:2:1: error: connection Daemon1 has no address"],
    code: 1,
  },
  {
    what: "a connection that carries nothing",
    file: ["listener 1884 127.0.0.1", "connection c", "address h"],
    output: ["f.cfg:2:1: warning: connection c has no topic line: it carries nothing", "f.cfg: usable"],
    code: 0,
  },
  {
    what: "an http_dir that is missing, and one that is no folder",
    file: ["listener 1884 127.0.0.1 auto", "http_dir /nowhere/www", "listener 1885 127.0.0.1 websockets", "http_dir f.cfg"],
    output: [
      "f.cfg:2:10: error: http_dir /nowhere/www: ENOENT: no such file or directory, stat '/nowhere/www'",
      `f.cfg:4:10: error: http_dir ${path.join(folder, "f.cfg")}: it is not a folder`,
    ],
    code: 1,
  },
  {
    what: "a listener that is there twice",
    file: ["listener 1884 127.0.0.1", "mount_point a/", "listener 1884 127.0.0.1"],
    output: ["f.cfg:3:1: error: the listener on port 1884 is defined twice"],
    code: 1,
  },
  {
    what: "a username without a password",
    file: ["listener 1884 127.0.0.1", "connection c", "address h", "username daemon1", "topic # out"],
    output: ["f.cfg:2:1: warning: connection c has a username and no password: some brokers refuse that", "f.cfg: usable"],
    code: 0,
  },
  {
    what: "A1.16: cleansession false with two addresses",
    file: ["listener 1884 127.0.0.1", "connection c", "addresses 10.0.0.1:1883 10.0.0.2:1883", "cleansession false", "topic # out"],
    output: [
      "f.cfg:2:1: warning: connection c has cleansession false and several addresses: that is right only if they share their sessions",
      "f.cfg: usable",
    ],
    code: 0,
  },
  {
    what: "a client identifier that is too long for the MQTT 3.1 that is asked for",
    file: ["listener 1884 127.0.0.1", "connection c", "address h", "clientid abcdefghijklmnopqrstuvwx", "bridge_protocol_version mqttv31", "topic # out"],
    output: ["f.cfg:2:1: warning: clientid abcdefghijklmnopqrstuvwx is longer than 23 bytes: brokers that speak only MQTT 3.1 refuse it", "f.cfg: usable"],
    code: 0,
  },
  {
    what: "A1.12: the loop of figure 40, over two lines",
    file: ["listener 1884 127.0.0.1", "connection Daemon1", "address h", 'topic "" in a b', 'topic "" out a b'],
    output: [
      "f.cfg:5:1: warning: connection Daemon1: what comes in by line 4 may go out again; a remote that does not know bridges echoes it",
      "f.cfg: usable",
    ],
    code: 0,
  },
  {
    what: "A1.12: the loop of figure 41, in one line",
    file: ["listener 1884 127.0.0.1", "connection Daemon1", "address h", 'topic "" both a b'],
    output: [
      "f.cfg:4:1: warning: connection Daemon1: what comes in by line 4 may go out again; a remote that does not know bridges echoes it",
      "f.cfg: usable",
    ],
    code: 0,
  },
  {
    what: "A1.6: a mount point for the default listener",
    file: ["port 1880", "bind_address 127.0.0.1", "mount_point 1880/"],
    output: ["f.cfg:3:1: error: mount_point belongs into a listener section: the default listener can't have one"],
    code: 1,
  },
  {
    what: "A1.6: no problem with one for another listener",
    file: ["port 1880", "bind_address 127.0.0.1", "listener 1884 127.0.0.1", "mount_point 1884/"],
    output: ["f.cfg: no problems"],
    code: 0,
  },
  {
    what: "A1.24: the loop of a connection to the daemon itself",
    file: ["port 1888", "bind_address 127.0.0.1", "connection self", "address 127.0.0.1:1888", "topic # out"],
    output: ["f.cfg:3:1: error: connection self is a bridge to ourselves: its address 127.0.0.1 port 1888 is our listener on port 1888"],
    code: 1,
  },
];

describe("amqtdd check says, of a file with", () => {
  it.each(files.map((one) => [one.what, one] as const))("%s", (_what, { file, output, code }) => {
    writeFileSync(path.join(folder, "f.cfg"), `${file.join("\n")}\n`);
    const { status, stdout, stderr } = spawnSync(process.execPath, [program, "check", "f.cfg"], { cwd: folder, encoding: "utf8" });
    expect({ output: stdout.split("\n"), stderr, code: status }).toEqual({ output: [...output, ""], stderr: "", code });
  });
});
