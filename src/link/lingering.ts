import type net from "node:net";
import { Strangers } from "./strangers.ts";

/** How long what we have ended may take to close before it is destroyed. */
export const LINGER_MS = 5_000;

/** Accepted connections that we have ended and whose other sides have not: who does not close holds places with them. */
export const lingering = new Strangers(Infinity);

/** Sends what is pending, and waits some time for the other side's end. */
export function linger(socket: net.Socket): void {
  if (socket.destroyed) return;
  const destroy = (): void => void socket.destroy();
  const timer = setTimeout(destroy, LINGER_MS).unref();
  lingering.add(socket, destroy);
  socket.once("close", () => {
    clearTimeout(timer);
    lingering.delete(socket);
  });
  socket.end();
  socket.resume();
}
