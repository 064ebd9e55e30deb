import { once } from "node:events";
import net from "node:net";
import { afterEach, expect, it } from "vitest";
import { Door } from "../../src/link/door.ts";
import { handshakes } from "../../src/link/handshakes.ts";
import { linger } from "../../src/link/lingering.ts";
import { Strangers } from "../../src/link/strangers.ts";
import { Log } from "../../src/log/console.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";

const open: net.Socket[] = [];
let server: net.Server;

afterEach(() => {
  for (const socket of open.splice(0)) socket.destroy();
  server.close();
});

/** A door for so many sockets; `accept` is the server's end of a connection through it. */
async function doorFor(maxSockets: number): Promise<{ door: Door; strangers: Strangers; accept: () => Promise<net.Socket> }> {
  const clock = new VirtualClock();
  const strangers = new Strangers();
  const door = new Door({ maxConnectionsPerAddress: Infinity }, strangers, new Log(() => undefined, clock, "info"), clock, maxSockets);
  server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const accept = async (): Promise<net.Socket> => {
    const client = net.connect((server.address() as net.AddressInfo).port, "127.0.0.1").on("error", () => undefined);
    const [socket] = (await once(server, "connection")) as [net.Socket];
    open.push(client, socket);
    return socket;
  };
  return { door, strangers, accept };
}

it("those who do not end their TLS handshake give way when there is no room, and keep nobody out", async () => {
  const { door, accept } = await doorFor(3);
  const silent = [await accept(), await accept(), await accept()];
  for (const socket of silent) {
    expect(door.enter(socket)).toBe(true);
    handshakes.add(socket, () => undefined);
  }
  expect(door.enter(await accept())).toBe(true);
  expect(silent.map(({ destroyed }) => destroyed)).toEqual([true, false, false]);
});

it("those who have been shown out and do not go give way, before anybody else does", async () => {
  const { door, strangers, accept } = await doorFor(3);
  const [stranger, shownOut, another] = [await accept(), await accept(), await accept()];
  for (const socket of [stranger, shownOut, another]) expect(door.enter(socket)).toBe(true);
  strangers.add(stranger, () => void stranger.destroy());
  for (const socket of [shownOut, another]) linger(socket);
  for (let i = 0; i < 2; i++) {
    expect(door.enter(await accept())).toBe(true);
    await Promise.all([shownOut, another].map((socket) => (socket.destroyed && !socket.closed ? once(socket, "close") : undefined)));
  }
  expect([stranger, shownOut, another].map(({ destroyed }) => destroyed)).toEqual([false, true, true]);
});

it("of strangers and handshakes the more numerous give way; who has said who he is never does", async () => {
  const { door, strangers, accept } = await doorFor(4);
  const [known, handshake, one, two] = [await accept(), await accept(), await accept(), await accept()];
  for (const socket of [known, handshake, one, two]) expect(door.enter(socket)).toBe(true);
  handshakes.add(handshake, () => undefined);
  for (const socket of [one, two]) strangers.add(socket, () => void socket.destroy());
  for (let i = 0; i < 3; i++) {
    const next = await accept();
    expect(door.enter(next)).toBe(true);
    await Promise.all([handshake, one, two].map((socket) => (socket.destroyed && !socket.closed ? once(socket, "close") : undefined)));
  }
  expect([known, handshake, one, two].map(({ destroyed }) => destroyed)).toEqual([false, true, true, true]);
  expect(door.enter(await accept())).toBe(false);
});
