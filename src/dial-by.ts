import type { Dial } from "./bridge/context.ts";
import { isSecure, isWeb } from "./config/address.ts";
import type { AddressConfig, DialConfig } from "./config/config.ts";
import { usableMaterial } from "./config/tls-files.ts";
import { dial } from "./link/dial.ts";
import type { TlsClient } from "./link/tls-client.ts";

/** One for each connection, for as long as it has these settings. */
const clients = new WeakMap<DialConfig, Promise<TlsClient>>();

/** Dials an address in the way of its connection. */
export const dialBy: Dial = (address, { config, maxPacketBytes, onNotRenewed }, onConnected, onFailed) => {
  const { scheme, host, port, path } = address;
  const destination = {
    host,
    port,
    tls: isSecure(scheme) ? () => clientOf(config, onNotRenewed) : undefined,
    proxy: config.proxy,
    localAddress: config.localAddress,
    webSocket: isWeb(scheme) ? { url: `${scheme}://${placeOf(address)}${path}`, maxPacketBytes } : undefined,
  };
  return dial(destination, onConnected, onFailed);
};

const placeOf = ({ host, port }: AddressConfig): string => `${host.includes(":") ? `[${host}]` : host}:${port}`;

function clientOf(config: DialConfig, onNotRenewed: (problem: string) => void): Promise<TlsClient> {
  const known = clients.get(config);
  if (known) return known;
  const client = makeClient(config, onNotRenewed);
  clients.set(config, client);
  return client;
}

async function makeClient({ tls, tlsPlaces }: DialConfig, onNotRenewed: (problem: string) => void): Promise<TlsClient> {
  if (!tls) throw new Error("the connection has no TLS");
  const { TlsClient: Client } = await import("./link/tls-client.ts"); // with node:tls, of no use to those who do without
  return new Client(tls, () => usableMaterial(tls, tlsPlaces), onNotRenewed);
}
