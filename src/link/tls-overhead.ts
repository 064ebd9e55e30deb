import type net from "node:net";
import type { TLSSocket } from "node:tls";
import { TlsFailure } from "./tls-reason.ts";

const LOOK_MS = 500;
/** Records of one byte are 23 times as long; key updates have no content at all, and each costs 10 us. */
const MAX_RATIO = 64;
/** Below it nothing is too much. */
const FREE_BYTES = 64 * 1024;

interface Watched {
  readonly socket: TLSSocket;
  readonly carrier: net.Socket;
  carriedBytes: number;
  contentBytes: number;
}

const watched = new Set<Watched>();
let timer: NodeJS.Timeout | undefined;

/**
 * Ends a connection on which much is sent that has no content. TLS is spoken behind our back, megabytes in one turn: key updates alone held everybody up
 * for half a second at a time, and Node does not tell of them.
 */
export function watchOverhead(socket: TLSSocket, carrier: net.Socket): void {
  const entry = { socket, carrier, carriedBytes: carrier.bytesRead, contentBytes: socket.bytesRead };
  watched.add(entry);
  timer ??= setInterval(lookAtAll, LOOK_MS).unref();
  socket.once("close", () => {
    watched.delete(entry);
    if (watched.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  });
}

function lookAtAll(): void {
  for (const entry of watched) {
    const carried = entry.carrier.bytesRead - entry.carriedBytes;
    const content = entry.socket.bytesRead - entry.contentBytes;
    entry.carriedBytes += carried;
    entry.contentBytes += content;
    if (carried > FREE_BYTES && carried > MAX_RATIO * content) entry.socket.destroy(new TlsFailure("much was sent that has no content, as new keys are"));
  }
}
