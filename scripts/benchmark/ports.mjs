// Ports of this machine.
import { once } from "node:events";
import net from "node:net";

/** One that nobody listens at. */
export async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Resolves when somebody listens at the port, tried again at once; rejects when `child` has ended instead. */
export async function untilOpen(port, child) {
  const deadline = Date.now() + 15_000;
  while (Date.now() < deadline && child.exitCode === null && child.signalCode === null) {
    const open = await new Promise((resolve) => {
      const socket = net.connect(port, "127.0.0.1", () => {
        resolve(true);
        socket.resetAndDestroy();
      });
      socket.on("error", () => resolve(false));
    });
    if (open) return;
    await new Promise((resolve) => setTimeout(resolve, 0.5));
  }
  throw new Error(`nobody listens at port ${port}`);
}
