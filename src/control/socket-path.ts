import { once } from "node:events";
import { lstatSync, rmSync } from "node:fs";
import net from "node:net";

/** Removes the Unix socket that a process which was killed has left at the path. Rejects if another one listens there. */
export async function freeSocketPath(path: string): Promise<void> {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return; // what else is there is not ours to remove
  if (await answers(path)) throw new Error(`another daemon listens at ${path}`);
  rmSync(path, { force: true });
}

async function answers(path: string): Promise<boolean> {
  const socket = net.connect(path);
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
