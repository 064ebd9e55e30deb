import { describe, expect, it } from "vitest";
import type { Dialect } from "../../src/bridge/handshake.ts";
import { Spelling } from "../../src/bridge/spelling.ts";

const LADDER: readonly [Dialect, ...Dialect[]] = [{ version: 5, bridge: false }, { version: 4, bridge: false }, { version: 3, bridge: false }];
type Answer = "accepts" | "refuses" | "closes" | "unreachable";

/** A bridge and a remote that answers each CONNECT as it is told: the versions that were tried, the one that was kept in brackets. */
class Bridge {
  private readonly spelling = new Spelling(LADDER);

  connect(answers: (version: number, attempt: number) => Answer): string {
    const tried: string[] = [];
    for (let attempt = 1; attempt < 12; attempt++) {
      const { version } = this.spelling.dialect;
      tried.push(String(version));
      const answer = answers(version, attempt);
      if (answer === "accepts") {
        if (!this.spelling.accepted()) continue;
        this.spelling.restart(); // when the connection ends
        return `${tried.join("")} -> ${version}`;
      }
      const isTriedNow = answer === "refuses" ? this.spelling.refused() : answer === "closes" && this.spelling.closed();
      if (!isTriedNow) this.spelling.restart();
    }
    return tried.join("");
  }
}

describe("a remote that does not take the fullest CONNECT", () => {
  it("is asked in plainer ways when it says so, and again from the fullest on with each connection", () => {
    const bridge = new Bridge();
    const old = (version: number): Answer => (version > 3 ? "refuses" : "accepts");
    expect(bridge.connect(old)).toBe("543 -> 3");
    expect(bridge.connect((version) => (version > 4 ? "refuses" : "accepts"))).toBe("54 -> 4");
    expect(bridge.connect(() => "accepts")).toBe("5 -> 5");
    expect(bridge.connect(old)).toBe("543 -> 3");
  });

  it("is found out when it just closes: the fullest is tried once more before a plainer one is kept", () => {
    const bridge = new Bridge();
    const mute = (version: number): Answer => (version > 4 ? "closes" : "accepts");
    expect(bridge.connect(mute)).toBe("55454 -> 4");
    expect(bridge.connect(mute)).toBe("54 -> 4");
    expect(bridge.connect(() => "accepts")).toBe("5 -> 5");
  });
});

describe("an outage", () => {
  it.each([1, 2, 3, 4, 5, 6, 7])("in which %i connections are closed does not change the protocol", (closes) => {
    const bridge = new Bridge();
    expect(bridge.connect((_version, attempt) => (attempt <= closes ? "closes" : "accepts"))).toMatch(/-> 5$/);
  });

  it("in which a remote comes and goes does not either, nor one that ends otherwise while it is found out", () => {
    const bridge = new Bridge();
    const answers: Answer[] = ["closes", "closes", "accepts", "unreachable", "closes", "closes", "accepts"];
    expect(bridge.connect((_version, attempt) => answers[attempt - 1] ?? "accepts")).toMatch(/-> 5$/);
  });
});
