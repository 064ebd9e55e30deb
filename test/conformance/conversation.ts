import { expect } from "vitest";
import { RawClient } from "../scenario/clients.ts";
import { bytesOf } from "../vectors/notation.ts";

/**
 * A conversation with the daemon as data: which statements of the standard it shows, what it shows, and its steps. A step begins with the connection's
 * letter, a capital one for the listener with limits, and says what happens there. Packets are in the notation of the vectors:
 *
 *     a> packet   a sends it, or several with | between; ID stands for the packet identifier that a got last
 *     a< packet   a gets exactly this; ID: any identifier; `..` any byte and `*` any rest, in packets of plain hex
 *     a+ 5        a connects with MQTT 5 (4, 3), clean, and takes CONNACK; `5k` with a session that is kept. a is also the client identifier
 *     a-          nothing more has come for a before the answer to a PINGREQ
 *     a$          the daemon has ended a's connection, and said nothing more
 *     a!          a's connection is cut
 *     wait 500    milliseconds
 */
export type Conversation = readonly [statements: string, shows: string, ...steps: string[]];

/** Where the daemon listens: without limits, and with them. */
export interface Ports {
  readonly plain: number;
  readonly limited: number;
}

/** CONNECT of MQTT 5 in the notation of the vectors; `17 00`: no reason strings, so that answers can be told byte by byte. */
export function connect5(clientId: string, { flags = "02", properties = "", rest = "" } = {}): string {
  return `10 LL <MQTT> 05 ${flags} 0000 {17 00 ${properties}} <${clientId}> ${rest}`;
}

const KEPT = "11 00000258";
const CONNECTS: Readonly<Record<string, (clientId: string) => string>> = {
  "5": (id) => connect5(id),
  "5k": (id) => connect5(id, { flags: "00", properties: KEPT }),
  "4": (id) => `10 LL <MQTT> 04 02 0000 <${id}>`,
  "4k": (id) => `10 LL <MQTT> 04 00 0000 <${id}>`,
  "3": (id) => `10 LL <MQIsdp> 03 02 0000 <${id}>`,
};

class Connection {
  private lastId = "0000";

  constructor(private readonly raw: RawClient) {}

  send(packet: string): void {
    const packets = packet.replaceAll("ID", this.lastId).split("|").map((one) => bytesOf(one));
    this.raw.send(Buffer.concat(packets).toString("hex"));
  }

  async gets(packet: string): Promise<void> {
    const frame = await this.raw.frame();
    if (/\.\.|\*/.test(packet)) return expect(frame).toMatch(new RegExp(`^${packet.replaceAll(" ", "").replaceAll("..", "[0-9a-f]{2}").replace("*", ".*")}$`));
    const [before = "", behind] = bytesOf(packet.replace("ID", MARK)).toString("hex").split(MARK);
    if (behind === undefined) return expect(frame).toBe(before);
    this.lastId = frame.slice(before.length, before.length + 4);
    expect(frame).toBe(before + this.lastId + behind);
  }

  async getsNothing(): Promise<void> {
    this.raw.send("c000");
    expect(await this.raw.frame()).toBe("d000");
  }

  async isEnded(): Promise<void> {
    await this.raw.closed();
    await expect(this.raw.frame()).rejects.toThrow("closed");
  }

  cut(): void {
    this.raw.destroy();
  }
}

/** In no packet of the tables. */
const MARK = "abad";

/** Goes through the steps; all connections are cut at the end. */
export async function hold(ports: Ports, steps: readonly string[]): Promise<void> {
  const connections = new Map<string, Connection>();
  const open = async (name: string): Promise<Connection> => {
    const isLimited = name !== name.toLowerCase();
    const connection = new Connection(await RawClient.open(isLimited ? ports.limited : ports.plain));
    connections.get(name)?.cut();
    connections.set(name, connection);
    return connection;
  };
  try {
    for (const step of steps) {
      const [, name = "", act = "", rest = ""] = /^(\w+?) ?([-><+$!]| \d+) *(.*)$/.exec(step) ?? [];
      if (name === "wait") await new Promise((resolve) => setTimeout(resolve, Number(act)));
      else await take(name, act, rest).catch((error: unknown) => Promise.reject(new Error(`at "${step}": ${error instanceof Error ? error.message : String(error)}`, { cause: error })));
    }
  } finally {
    for (const connection of connections.values()) connection.cut();
  }

  async function take(name: string, act: string, rest: string): Promise<void> {
    if (act === "+") {
      const connection = await open(name);
      connection.send(CONNECTS[rest]?.(name) ?? "");
      return connection.gets("20 .. .. 00 *");
    }
    const connection = connections.get(name) ?? (await open(name));
    if (act === ">") connection.send(rest);
    else if (act === "<") await connection.gets(rest);
    else if (act === "-") await connection.getsNothing();
    else if (act === "$" || act === "!") {
      if (act === "$") await connection.isEnded();
      connection.cut();
      connections.delete(name);
    } else throw new Error("this is no step");
  }
}
