import { describe, it, expect } from "vitest";
import fc from "fast-check";
import { MountedTopics, TopicTable } from "../../src/topic/topic-table.ts";

const lookup = (table: TopicTable | MountedTopics, name: string) =>
  table.lookup(Buffer.from(`<${name}>`), 1, 1 + Buffer.byteLength(name));

describe("TopicTable", () => {
  it("gives the same topic for the same name", () => {
    const table = new TopicTable();
    expect(lookup(table, "a/ü")).toBe(table.intern("a/ü"));
    expect(table.intern("a/ü").name).toBe("a/ü");
    expect(table.size).toBe(1);
  });

  it("does not keep what it was looked up with", () => {
    const table = new TopicTable();
    const bytes = Buffer.from("abc");
    const topic = table.lookup(bytes, 0, 3);
    bytes.fill(0);
    expect(topic.name).toBe("abc");
  });

  it("does not keep invalid names", () => {
    const table = new TopicTable();
    for (const name of ["", "a/+", "#", "a\0"]) expect(lookup(table, name).valid).toBe(false);
    expect(table.size).toBe(0);
  });

  it("stays within its bound and right about every name", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(400), { maxLength: 2000, minLength: 500 }), (names) => {
        const table = new TopicTable(100);
        for (const n of names) {
          const topic = lookup(table, `t/${n}`);
          expect(topic.name).toBe(`t/${n}`);
          expect(lookup(table, `t/${n}`)).toBe(topic);
          expect(table.size).toBeLessThanOrEqual(100);
        }
      }),
      { numRuns: 20 },
    );
  });

  it("keeps a topic in use while others come and go", () => {
    const table = new TopicTable(100);
    const used = table.intern("used");
    for (let i = 0; i < 5000; i++) {
      table.intern(`once/${i}`);
      if (i % 20 === 0) expect(table.intern("used")).toBe(used);
    }
  });

  it("bounds the bytes of long names too", () => {
    const table = new TopicTable(65_536, 1_000_000);
    for (let i = 0; i < 200; i++) table.intern(`${i}${"x".repeat(60_000)}`);
    expect(table.size).toBeLessThan(20);
  });
});

describe("MountedTopics", () => {
  it("finds the local topic behind a remote spelling", () => {
    const table = new TopicTable();
    const mounted = new MountedTopics(table, "site/1/");
    const topic = lookup(mounted, "a");
    expect(topic.name).toBe("site/1/a");
    expect(topic).toBe(table.intern("site/1/a"));
    expect(lookup(mounted, "a")).toBe(topic);
  });

  it("passes straight through without a prefix", () => {
    const table = new TopicTable();
    expect(lookup(new MountedTopics(table, ""), "a")).toBe(table.intern("a"));
  });

  it("refuses a remote name that is invalid by itself or too long with the prefix", () => {
    const mounted = new MountedTopics(new TopicTable(), "p/");
    for (const name of ["", "+", "x".repeat(65_534)]) expect(lookup(mounted, name).valid).toBe(false);
    expect(lookup(mounted, "x".repeat(65_533)).valid).toBe(true);
  });
});
