import { once } from "node:events";
import net from "node:net";
import { expect, it } from "vitest";
import { plainTransport } from "../../src/link/plain.ts";
import type { Transport } from "../../src/link/transport.ts";

it("reads what the other side had sent before it went, though it has been written to since", async () => {
  const server = net.createServer({ allowHalfOpen: true });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  let came = "";
  let isDone = false;
  let transport: Transport | undefined;
  const closed = new Promise<Error | undefined>((resolve) => {
    const listener = { onBytes: (bytes: Buffer, end?: number) => void (came += bytes.toString("latin1", 0, end)), onDrain: () => undefined, onClose: resolve };
    server.once("connection", (socket) => (transport = plainTransport(socket, listener)));
  });
  const client = net.connect((server.address() as net.AddressInfo).port, "127.0.0.1");
  await Promise.all([once(client, "connect"), once(server, "connection")]);
  const news = Buffer.alloc(10_000);
  // All in one turn: nothing is read in between.
  client.write("last words");
  client.destroy();
  const taken = [1, 2, 3, 4].map(() => transport?.writeNow?.(news, 0, news.length));
  expect(taken.at(-1)).toBe(news.length);
  transport?.write(news, () => void (isDone = true));
  expect(transport?.unsentBytes).toBe(0);
  expect((await closed)?.message).toMatch(/ECONNRESET|EPIPE/);
  expect([came, isDone]).toEqual(["last words", true]);
  server.close();
});
