import { request } from "node:http";
import type net from "node:net";

export interface Proxy {
  readonly host: string;
  readonly port: number;
  /** `user:password`, if the proxy wants them. */
  readonly credentials: string | undefined;
}

/** Asks an HTTP proxy, which is at the other end of `socket`, for a tunnel (RFC 9110, 9.3.6). Rejects with its answer. */
export function openTunnel(socket: net.Socket, target: { host: string; port: number }, { credentials }: Proxy): Promise<net.Socket> {
  const authority = `${target.host.includes(":") ? `[${target.host}]` : target.host}:${target.port}`;
  const authorization = credentials === undefined ? {} : { "Proxy-Authorization": `Basic ${Buffer.from(credentials).toString("base64")}` };
  return new Promise((resolve, reject) => {
    const asked = request({ method: "CONNECT", path: authority, headers: { Host: authority, ...authorization }, createConnection: () => socket });
    asked.on("connect", ({ statusCode = 0, statusMessage = "" }, tunnel, head) => {
      if (statusCode < 200 || statusCode > 299) return reject(new Error(`the proxy answers ${statusCode} ${statusMessage}`));
      if (head.length > 0) tunnel.unshift(head);
      resolve(socket);
    });
    asked.on("error", (error) => reject(new Error(`the proxy does not answer as one: ${error.message}`)));
    asked.end();
  });
}
