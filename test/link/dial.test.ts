import { once } from "node:events";
import type { LookupOptions } from "node:dns";
import net from "node:net";
import { afterEach, expect, it, vi } from "vitest";
import { dial, type Destination } from "../../src/link/dial.ts";

/** The name server of a network that has both families: a name without a wish is that of ::1. */
vi.mock("node:dns", () => ({
  lookup: (_name: string, { family }: LookupOptions, callback: (error: null, address: string, family: number) => void): void => {
    process.nextTick(() => (family === 4 ? callback(null, "127.0.0.1", 4) : callback(null, "::1", 6)));
  },
}));

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

/** A server that answers what comes with `answer`; the addresses that it is dialled from are in `from`. */
async function serverAt(host: string, answer = ""): Promise<{ port: number; from: string[] }> {
  const from: string[] = [];
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket.on("error", () => undefined));
    from.push(socket.remoteAddress ?? "");
    socket.on("data", () => socket.write(answer));
  });
  server.listen(0, host);
  await once(server, "listening");
  closing.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: (server.address() as net.AddressInfo).port, from };
}

/** Resolves when the connection stands, rejects with the reason. */
function connected(where: Partial<Destination> & { port: number }): Promise<void> {
  const destination: Destination = { host: "127.0.0.1", localAddress: undefined, tls: undefined, proxy: undefined, webSocket: undefined, ...where };
  return new Promise((resolve, reject) => {
    dial(destination, (open) => {
      const transport = open({ onBytes: () => undefined, onDrain: () => undefined, onClose: () => undefined });
      closing.push(() => transport.destroy());
      resolve();
    }, reject);
  });
}

it("connects from the local address that is given, to an address or a name, and else from where the system says", async () => {
  const { port, from } = await serverAt("127.0.0.1");
  await connected({ port });
  await connected({ port, localAddress: "127.0.0.2" });
  await connected({ port, localAddress: "127.0.0.3", host: "both.example" });
  expect(from).toEqual(["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
});

it("connects from the local address to the proxy, too", async () => {
  const proxy = await serverAt("127.0.0.1", "HTTP/1.1 200 OK\r\n\r\n");
  await connected({ port: 1, host: "broker.example", localAddress: "127.0.0.2", proxy: { host: "127.0.0.1", port: proxy.port, credentials: undefined } });
  expect(proxy.from).toEqual(["127.0.0.2"]);
});

it("fails with the reason when the local address is not this machine's, or of another family", async () => {
  const { port } = await serverAt("127.0.0.1");
  await expect(connected({ port, localAddress: "203.0.113.9" })).rejects.toThrow(/EADDRNOTAVAIL.*203\.0\.113\.9/);
  await expect(connected({ port, localAddress: "::1" })).rejects.toThrow();
  await expect(connected({ port, localAddress: "fd00::dead" })).rejects.toThrow();
});
