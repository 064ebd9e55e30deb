import { isIPv4 } from "node:net";
import { networkInterfaces } from "node:os";

/**
 * The addresses that a network interface has now, in the form that a socket is bound to: those of its link alone go with its name. None if
 * there is no such interface, which the system does not tell from one without an address. As in mosquitto the name may be in any case.
 */
export function interfaceAddresses(name: string): string[] {
  const [ownName, addresses] = Object.entries(networkInterfaces()).find(([other]) => other.toLowerCase() === name.toLowerCase()) ?? [];
  return (addresses ?? []).map((one) => (one.family === "IPv6" && one.scopeid > 0 ? `${one.address}%${ownName ?? ""}` : one.address));
}

/**
 * Those that a listener with `bind_interface` listens at. `wanted`: what its address leaves of them; 0.0.0.0 is all of IPv4, :: and nothing all.
 * @throws if that is none.
 */
export function listenedAddresses(name: string, wanted: string | undefined): string[] {
  const all = interfaceAddresses(name);
  if (all.length === 0) throw new Error(`bind_interface ${name}: no network interface of that name has an address; there are ${Object.keys(networkInterfaces()).join(", ")}`);
  const fitting = all.filter((address) => wanted === undefined || wanted === "::" || (wanted === "0.0.0.0" ? isIPv4(address) : isSame(address, wanted)));
  if (fitting.length === 0) throw new Error(`bind_interface ${name}: the interface does not have ${wanted === "0.0.0.0" ? "an IPv4 address" : `the address ${wanted ?? ""}`}`);
  return fitting;
}

/** Whether two forms are of one address, with or without the interface. */
export const isSame = (one: string, other: string): boolean => withoutInterface(one) === withoutInterface(other);

const withoutInterface = (address: string): string => address.replace(/%.*$/, "").toLowerCase();
