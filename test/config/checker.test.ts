import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { networkInterfaces, tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { checkConfig } from "../../src/config/checker.ts";
import { problemText } from "../../src/config/config.ts";
import { nearest } from "../../src/config/nearest.ts";
import { parseConfig } from "../../src/config/parser.ts";
import { readConfig } from "../../src/config/read-config.ts";

/** What the checker says of a file that the parser finds nothing wrong with. Its default listener is on the loopback address. */
function checked(text: string): string[] {
  const { config, problems } = parseConfig(`bind_address 127.0.0.1\n${text}`, "f");
  expect(problems).toEqual([]);
  return checkConfig(config).map(problemText);
}

/** With a topic line, if none is among the lines. */
const connection = (...lines: string[]): string => ["connection c", ...lines, ...(lines.some((line) => line.startsWith("topic")) ? [] : ["topic t out"])].join("\n");

/** The interface of the loopback address. */
const [loopback = ""] = Object.entries(networkInterfaces()).find(([, addresses]) => addresses?.some(({ address }) => address === "127.0.0.1")) ?? [];

describe("checkConfig", () => {
  it.each([
    ["listener 2000 localhost", []],
    ["listener 2000 127.1.2.3", []],
    ["listener 2000 [::1]", []],
    ["listener 2000", ["f:2:1: warning: the listener on port 2000 can be used by anyone who reaches it"]],
    ["password_file p\nlistener 2000", []],
    ["password_file p\nlistener 2000\nlistener_allow_anonymous true", ["f:3:1: warning: the listener on port 2000 can be used by anyone who reaches it"]],
    ["password_file p\nallow_anonymous true\nlistener 2000\nlistener_allow_anonymous false", []],
    ["listener 0 /a\nlistener 0 /b", []],
    ["listener 0 /a\nlistener 0 /a", ["f:3:1: error: the listener on /a is defined twice"]],
    ["listener 2000 ::1\nmount_point a/b/", []],
    ...["a", "a/+/", "+/"].map((prefix): [string, string[]] => [
      `listener 2000 ::1\nmount_point ${prefix}`, [`f:2:1: error: mount_point ${prefix}: it must end in / and contain no wildcard, or its clients could not subscribe to #`],
    ]),
    ["listener 2000 10.0.0.1", ["f:2:1: warning: the listener on port 2000 can be used by anyone who reaches it"]],
    ["listener 2000 localhost\nprotocol websockets\nhttp_dir /srv/www\nwebsockets_origin https://example.org example.com", []],
    [
      "listener 2000 localhost\nhttp_dir /srv/www\nwebsockets_origin example.org",
      ["http_dir", "websockets_origin"].map((word) => `f:2:1: warning: ${word} has no meaning on the listener on port 2000: its protocol is not websockets or auto`),
    ],
    ["listener 2000 ::1\nlistener 2000 ::1", ["f:3:1: error: the listener on port 2000 is defined twice"]],
    ["listener 2000 ::1\nlistener 2000 127.0.0.1", []],
    [`listener 2000\nbind_interface ${loopback}`, []],
    ["listener 2000\nbind_interface nothing0", ["f:2:1: warning: the listener on port 2000 can be used by anyone who reaches it"]],
    [`listener 2000\nbind_interface ${loopback}\nlistener 2000\nbind_interface ${loopback}`, ["f:4:1: error: the listener on port 2000 is defined twice"]],
    [`listener 2000\nbind_interface ${loopback}\nlistener 2000 127.0.0.2`, []],
    [
      `password_file p\nlistener 2000\nbind_interface ${loopback}\nlistener 2000`,
      ["f:5:1: error: the listener on port 2000 is defined twice: one of the two takes all addresses"],
    ],
    ["listener 0 /a\nbind_interface eth0", ["f:2:1: warning: bind_interface has no meaning on the listener on /a: it is a Unix socket"]],
    ["listener 1883 127.0.0.1", ["f: error: the listener on port 1883 is defined twice"]],
    [connection("address h"), []],
    [connection(), ["f:2:1: error: connection c has no address"]],
    [connection("address h", "topic a out", "connection d", "address h", "topic a out", "connection c", "address h", "topic a out"), ["f:8:1: error: connection c is defined twice"]],
    ["connection c\naddress h", ["f:2:1: warning: connection c has no topic line: it carries nothing"]],
    [connection("address h", "username u"), ["f:2:1: warning: connection c has a username and no password: some brokers refuse that"]],
    [connection("address h", "username u", "password p"), []],
    [connection("address h", `clientid ${"x".repeat(23)}`), []],
    [
      connection("address h", `clientid ${"x".repeat(21)}ü+`),
      [`f:2:1: warning: clientid ${"x".repeat(21)}ü+ is longer than 23 bytes: brokers that speak only MQTT 3.1 refuse it`],
    ],
    [
      connection("address h i", "cleansession false"),
      ["f:2:1: warning: connection c has cleansession false and several addresses: that is right only if they share their sessions"],
    ],
    [connection("address h i", "cleansession true"), []],
    [connection("address h", "topic  a#  out"), ["f:4:8: error: topic filter a#: '#' must stand alone in the last level: did you mean a/#?"]],
    [connection("address h", "topic # in l/ r"), ["f:4:7: error: topic filter r#: '#' must stand alone in the last level: did you mean r/#?"]],
    [connection("address h", 'topic "" out'), ["f:4:7: error: topic filter : a topic filter must not be empty"]],
    [connection("address h", 'topic "" out l r'), []],
    [connection("address h", "topic # out l r/"), ["f:4:7: error: topic filter l#: '#' must stand alone in the last level: did you mean l/#?"]],
    [connection("address h", "topic # out l/ r"), []],
    [connection("address h", "topic # in l r/"), []],
    [
      connection("address h", "topic a/# both"),
      ["f:4:1: warning: connection c: what comes in by line 4 may go out again; a remote that does not know bridges echoes it"],
    ],
    [connection("address h", "topic a/# out", "topic b/# in"), []],
    [connection("address h", "topic # out l/ r/", "topic # in l/ s/"), []],
    [
      connection("address h", "topic # out l/ r/", "topic x in l/ r/"),
      ["f:4:1: warning: connection c: what comes in by line 5 may go out again; a remote that does not know bridges echoes it"],
    ],
  ])("%j", (text, problems) => expect(checked(text)).toEqual(problems));
});

describe("topic lines of one direction that match the same messages", () => {
  const lines = (...topics: string[]): string[] => checked(connection("address h", ...topics));
  const warning = (place: string, direction: string, filter: string, other: string, line: number, used: string): string =>
    `f:${place}: warning: connection c: messages that go ${direction} by ${filter} may also match ${other} in line ${line}; ${used} is used`;

  it("are warned of, at the later one", () => {
    expect(lines("topic # out", "topic  a/b out")).toEqual([warning("5:8", "out", "a/b", "#", 4, "the more specific")]);
    expect(lines("topic a/+ in", "topic +/b in")).toEqual([warning("5:7", "in", "+/b", "a/+", 4, "the more specific")]);
    expect(lines("topic a out", "topic a out 1")).toEqual([warning("5:7", "out", "a", "a", 4, "the first")]);
  });

  it("are compared with the prefixes of the side the messages come from", () => {
    expect(lines("topic # out x/ r/", "topic # out y/ r/")).toEqual([]);
    expect(lines("topic # out x/ r/", "topic # out x/ s/")).toEqual([warning("5:7", "out", "x/#", "x/#", 4, "the first")]);
    expect(lines("topic # in x/ r/", "topic # in x/ s/")).toEqual([]);
    expect(lines("topic # in x/ r/", "topic a in y/ r/")).toEqual([warning("5:7", "in", "r/a", "r/#", 4, "the more specific")]);
  });

  it("are warned of pair by pair, and of both directions of lines that have both", () => {
    expect(lines("topic a out", "topic b out", "topic + out")).toEqual([
      warning("6:7", "out", "+", "a", 4, "the more specific"), warning("6:7", "out", "+", "b", 5, "the more specific"),
    ]);
    const both = lines('topic a both "" r/', 'topic + both "" r/').filter((line) => line.includes("may also match"));
    expect(both).toEqual([warning("5:7", "out", "+", "a", 4, "the more specific"), warning("5:7", "in", "r/+", "r/a", 4, "the more specific")]);
  });

  it("are no matter of other directions or other connections", () => {
    expect(lines('topic # out "" r/', "topic # in l/ s/")).toEqual([]);
    expect(checked("connection c\naddress h\ntopic # out\nconnection d\naddress h\ntopic # out")).toEqual([]);
    expect(lines("topic # out", "topic $SYS/# out")).toEqual([]);
  });
});

describe("two connections with one clientid", () => {
  const two = (first: string, second: string): string[] => checked(`connection c\n${first}\ntopic a out\nconnection d\n${second}\ntopic a out`);
  const error = (address: string): string => `f:6:1: error: connections c and d have clientid x at the same address, ${address}: each would end the other`;

  it.each([
    ["address h\nclientid x", "address h:1883\nclientid x", "h port 1883"],
    ["address a:1 H:2\nclientid x", "address b:1 h:2\nclientid x", "h port 2"],
    ["address [::1]:7\nclientid x", "address [::1]:7\nremote_clientid x", "::1 port 7"],
  ])("and an address in common are an error: %j, %j", (first, second, address) => {
    expect(two(first, second).filter((line) => line.includes("error"))).toEqual([error(address)]);
  });

  it.each([
    ["address h\nclientid x", "address h\nclientid X"],
    ["address h\nclientid x", "address h:1\nclientid x"],
    ["address h\nclientid x", "address i\nclientid x"],
    ["address h\nclientid x", "address h"],
    ["address h", "address h"],
  ])("or none in common are none: %j, %j", (first, second) => expect(two(first, second)).toEqual([]));
});

describe("a bridge to ourselves", () => {
  /** What is found with a listener besides the default one, which is 127.0.0.1:1883, and a connection to the address. */
  const self = (listener: string, address: string): string[] => checked(`${listener}\nconnection c\naddress other ${address}\ncleansession true`).filter((line) => line.includes("ourselves"));

  it.each([
    ["", "127.0.0.1", "127.0.0.1 port 1883"],
    ["", "LOCALHOST", "LOCALHOST port 1883"],
    ["listener 2000", "127.0.0.1:2000", "127.0.0.1 port 2000"],
    ["listener 2000", "127.9.9.9:2000", "127.9.9.9 port 2000"],
    ["listener 2000", "[::1]:2000", "::1 port 2000"],
    ["listener 2000 ::", "localhost:2000", "localhost port 2000"],
    ["listener 2000 0.0.0.0", "127.0.0.1:2000", "127.0.0.1 port 2000"],
    ["listener 2000 localhost", "[::1]:2000", "::1 port 2000"],
    ["listener 2000 10.0.0.1", "10.0.0.1:2000", "10.0.0.1 port 2000"],
  ])("is an error: %j, address %s", (listener, address, named) => {
    const port = named.split(" ").at(-1) ?? "";
    expect(self(listener, address)).toEqual([`f:3:1: error: connection c is a bridge to ourselves: its address ${named} is our listener on port ${port}`]);
  });

  it.each(["127.0.0.1", "localhost"])("is an error at the addresses of a listener's network interface: %s", (host) => {
    expect(self(`listener 2000\nbind_interface ${loopback}`, `${host}:2000`)).toHaveLength(1);
  });

  it.each([
    ["", "127.0.0.2"],
    ["", "::1"],
    ["", "127.0.0.1:1884"],
    ["listener 2000", "10.0.0.1:2000"],
    ["listener 2000 0.0.0.0", "[::1]:2000"],
    ["listener 2000\nipv6 false", "[::1]:2000"],
    ["listener 2000 10.0.0.1", "localhost:2000"],
    [`listener 2000\nbind_interface ${loopback}`, "127.0.0.2:2000"],
    ["listener 2000\nbind_interface nothing0", "localhost:2000"],
  ])("is not: %j, address %s", (listener, address) => expect(self(listener, address)).toEqual([]));
});

describe("readConfig", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "amqtdd-config-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  const write = (name: string, ...lines: string[]): string => {
    const file = path.join(folder, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, lines.join("\n"));
    return file;
  };

  it("warns of a store's place that is a folder and does not end in /", () => {
    const place = (text: string): readonly string[] => readConfig(write("place.cfg", "port 1883", "bind_address ::1", `persistence_location ${text}`)).problems;
    expect(place(folder)).toEqual([
      `${folder}/place.cfg:3:22: warning: persistence_location ${folder} is a folder, and the store will be ${folder}amqtdd-store: end it in / to have the store inside`,
    ]);
    for (const other of [`${folder}/`, `${folder}/none`, `${folder}/place.cfg`, "\0"]) expect(place(other)).toEqual([]);
  });

  it("reads the files of a folder that end in .conf, by name, and tells its problems file by file in the order of their lines", () => {
    write("conf.d/20.conf", "log_level detail", "", "connection c", "address h", "username u", "topic # out");
    write("conf.d/10.conf", "log_level error", "connection b", "topic # out");
    write("conf.d/30.txt", "nonsense");
    const file = write("main.conf", "bind_address 127.0.0.1", `include_dir ${path.join(folder, "conf.d")}`, "connection d", "address h i", "cleansession no", "topic # out", "topic a out");
    const { config, problems } = readConfig(file);
    expect(config).toBeUndefined();
    expect(problems.map((problem) => path.relative(folder, problem).replace(/ .*/, ""))).toEqual(["main.conf:3:1:", "main.conf:7:7:", "conf.d/10.conf:2:1:", "conf.d/20.conf:3:1:"]);
    write("conf.d/10.conf", "log_level error");
    expect(readConfig(file).config).toMatchObject({ logLevel: "detail", connections: [{ name: "c" }, { name: "d" }] });
  });

  it("tells a folder that it can't read with its place, and a file that it can't", () => {
    const missing = path.join(folder, "missing");
    const file = write("other.conf", "", `include_dir ${missing}`);
    expect(readConfig(file)).toMatchObject({ config: undefined, problems: [expect.stringContaining(`${file}:2:13: error: include_dir ${missing}: ENOENT`)] });
    expect(readConfig(missing)).toMatchObject({ config: undefined, problems: [expect.stringContaining(`${missing}: error: ENOENT`)] });
  });

  it("tells what is wrong with the password file and the ACL file in their own places", () => {
    const passwords = write("passwords", "# users", "no colon");
    const file = write("access.conf", "bind_address 127.0.0.1", `password_file ${passwords}`, `acl_file ${path.join(folder, "missing")}`);
    const { config, problems } = readConfig(file);
    expect(config).toBeUndefined();
    expect(problems).toEqual([expect.stringMatching(/passwords:2:1: error: /), expect.stringMatching(/missing:1:1: error: ENOENT/)]);
  });
});

describe("nearest", () => {
  const known = ["port", "password", "password_file", "connection", "address"];

  it.each([
    ["prot", "port"], ["pasword", "password"], ["password_fil", "password_file"], ["passwordfile", "password_file"], ["conection", "connection"],
    ["adress", "address"], ["port", "port"], ["xx", undefined], ["bind", undefined], ["por", "port"],
  ])("to %s is %s", (word, expected) => expect(nearest(word, known)).toBe(expected));

  it("is the first of those equally near", () => expect(nearest("ac", ["ab", "ad"])).toBe("ab"));
});
