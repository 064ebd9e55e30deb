import { describe, expect, it } from "vitest";
import { Access, OPEN_TO_ALL } from "../../src/access/access.ts";
import { rightsOf } from "../../src/access/acl.ts";
import { parseAclFile, type AclStyle } from "../../src/access/acl-file.ts";
import type { Identity } from "../../src/access/identity.ts";

const client = (user?: string, id = "c1"): Identity => ({ kind: "client", id, user });

/** What somebody may do: `r`, `w`, `rw` or `-`. */
function may(text: string, who: Identity, topic: string, style?: AclStyle): string {
  const { acl, problems } = parseAclFile(text, { isUser: () => true, ...(style ? { style } : {}) });
  expect(problems).toEqual([]);
  const rights = rightsOf(acl, who);
  if (!rights) return "rw";
  return `${rights.mayRead(topic) ? "r" : ""}${rights.mayWrite(topic) ? "w" : ""}` || "-";
}

// The document's figure 44, verbatim.
const figure44 = `topic home/public/#
topic read meters/#
user Fred
topic write meters/fred
topic home/fred/#
user Barney
topic write meters/barney
topic home/barney/#
`;

it.each([
  ["home/public/door", "rw", "rw", "rw"],
  ["home/public", "rw", "rw", "rw"],
  ["home/fred/bed", "-", "rw", "-"],
  ["home/barney/bed", "-", "-", "rw"],
  ["meters/fred", "r", "rw", "r"],
  ["meters/barney", "r", "r", "rw"],
  ["meters/wilma", "r", "r", "r"],
  ["meters/fred/x", "r", "r", "r"],
  ["other", "-", "-", "-"],
  ["$SYS/broker/version", "-", "-", "-"],
])("figure 44: %s is %s for anonymous clients, %s for Fred, %s for Barney", (topic, anonymous, fred, barney) => {
  expect([may(figure44, client(), topic), may(figure44, client("Fred"), topic), may(figure44, client("Barney"), topic)]).toEqual([anonymous, fred, barney]);
});

it("refuses a subscription only if it can match nothing that may be read", () => {
  const { acl } = parseAclFile("topic read a/+/c\ntopic write w/#\n", { isUser: () => true });
  const rights = rightsOf(acl, client());
  const allowed = ["a/+/c", "a/b/c", "#", "+/b/#", "a/b/+"].map((filter) => rights?.maySubscribe(filter));
  const refused = ["w/#", "a/b", "b/#", "$SYS/#"].map((filter) => rights?.maySubscribe(filter));
  expect(allowed).toEqual([true, true, true, true, true]);
  expect(refused).toEqual([false, false, false, false]);
});

it("does not let an exact rule stand for topics that begin like it", () => {
  expect(["a/b", "a/bX/c", "a/b/c"].map((topic) => may("topic a/b", client(), topic))).toEqual(["rw", "-", "-"]);
});

it("takes mosquitto's words, and then its meaning of the rules before the first user", () => {
  const text = "topic read public/#\nuser fred\ntopic readwrite fred/#\ntopic deny fred/secret\npattern write sensors/%c/%u\n";
  expect(may(text, client(), "public/a")).toBe("r");
  expect(may(text, client("fred"), "public/a")).toBe("-");
  expect(may(text, client("fred"), "public/a", "amqtdd")).toBe("r");
  expect(may(text, client("fred"), "fred/a")).toBe("rw");
  expect(may(text, client("fred"), "fred/secret")).toBe("-");
  expect(may(text, client("fred", "s1"), "sensors/s1/fred")).toBe("w");
  expect(may(text, client("fred", "s1"), "sensors/s2/fred")).toBe("-");
  expect(may(text, client(undefined, "s1"), "sensors/s1/fred")).toBe("-");
});

it.each(["+", "#", "a/b", "a+"])("never lets the client identifier or user %s widen a pattern", (name) => {
  expect(may("pattern sensors/%c", client("u", name), "sensors/x")).toBe("-");
  expect(may("pattern sensors/%c", client("u", name), `sensors/${name}`)).toBe("-");
  expect(may("pattern sensors/%u", client(name), "sensors/x")).toBe("-");
});

it("does not take %u in a client identifier for the user's name", () => {
  expect(may("pattern sensors/%c", client("fred", "%u"), "sensors/fred")).toBe("-");
});

it("lets a bridge do everything unless the file names its connection", () => {
  const bridge: Identity = { kind: "bridge", id: "central", user: undefined };
  expect(may(figure44, bridge, "other")).toBe("rw");
  expect(may(`${figure44}connection central\ntopic read up/#\n`, bridge, "up/a")).toBe("r");
  expect(may(`${figure44}connection central\ntopic read up/#\n`, bridge, "home/public/door")).toBe("-");
});

it("denies everything with an empty file", () => {
  expect(may("", client("fred"), "a")).toBe("-");
});

it("takes a word that no blank follows for the topic, as the original did", () => {
  expect(may("topic read", client(), "read")).toBe("rw");
});

it.each([
  ["topic\n", 1, "wanted is topic"],
  ["\n# text\nuser\n", 3, "wanted is topic"],
  ["topics a\n", 1, "wanted is topic"],
  ["topic read a#\n", 1, "did you mean a/#?"],
  ["\ntopic a\nuser nobody\n", 3, "user nobody is not in the password file"],
])("names the line of what is wrong in %j", (text, line, part) => {
  const { problems } = parseAclFile(text, { isUser: () => false });
  expect(problems).toEqual([{ line, severity: "error", message: expect.stringContaining(part) as string }]);
});

describe("a topic that remembers who may write to it", () => {
  const accessOf = (text: string): Access => new Access({ ...OPEN_TO_ALL, acl: parseAclFile(text, { isUser: () => true }).acl }, () => Promise.resolve(false));

  it.each([0, 100])("tells nothing of other clients, nor of rules that hold no more, with %i rules for other topics", (others) => {
    const filler = Array.from({ length: others }, (_, i) => `topic other/${i}\n`).join("");
    const access = accessOf(`topic read a\n${filler}user fred\ntopic write a\npattern write ids/%c\n`);
    const topic = { name: "a", writableBy: 0 };
    const may = (who: Identity, from = access, to = topic): boolean | undefined => from.rightsOf(who)?.mayWriteTo(to);
    const later = accessOf(`topic read a\n${filler}user fred\ntopic write b\n`);
    const all = [may(client("fred")), may(client("fred")), may(client()), may(client("barney")), may(client("fred"), later), may(client("fred"))];
    expect(all).toEqual([true, true, false, false, false, true]);
    const own = { name: "ids/c1", writableBy: 0 };
    expect([may(client("fred", "c1"), access, own), may(client("fred", "c2"), access, own), may(client("fred", "c1"), access, own)]).toEqual([true, false, true]);
  });

  it("is asked once for all clients of a user, unless rules speak of their identifiers", () => {
    const shared = accessOf("topic a\nuser fred\ntopic b\npattern write %u\n");
    expect(shared.rightsOf(client("fred", "c1"))).toBe(shared.rightsOf(client("fred", "c2")));
    expect(shared.rightsOf(client("fred"))).not.toBe(shared.rightsOf(client("barney")));
    expect(shared.rightsOf(client("fred"))).not.toBe(shared.rightsOf(client()));
    const own = accessOf("topic a\npattern write %c\n");
    expect(own.rightsOf(client("fred", "c1"))).not.toBe(own.rightsOf(client("fred", "c2")));
    const bridge: Identity = { kind: "bridge", id: "fred", user: undefined };
    expect(shared.rightsOf(bridge)).toBeUndefined();
  });
});

it("knows who admitted before may stay: the user is gone, or has another password", () => {
  const passwords = (...entries: [string, string][]) => new Map(entries.map(([user, text]) => [user, { kind: "clear" as const, text }]));
  const verify = () => Promise.resolve(false);
  const before = new Access({ ...OPEN_TO_ALL, passwords: passwords(["fred", "a"], ["wilma", "b"], ["barney", "c"]) }, verify);
  const after = new Access({ ...OPEN_TO_ALL, allowAnonymous: false, passwords: passwords(["fred", "a"], ["wilma", "new"]) }, verify);
  expect([client("fred"), client("wilma"), client("barney"), client()].map((who) => after.stillAdmits(who, before))).toEqual([true, false, false, false]);
});
