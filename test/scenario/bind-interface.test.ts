import net from "node:net";
import { networkInterfaces } from "node:os";
import { expect, it, onTestFinished } from "vitest";
import { RawClient } from "./clients.ts";
import { DaemonProcess, freePorts } from "./daemon.ts";

/** The interface of the loopback address, lo on Linux, and all that it has. */
const [loopback = "", ofLoopback = []] = Object.entries(networkInterfaces()).find(([, addresses]) => addresses?.some(({ address }) => address === "127.0.0.1")) ?? [];
const addresses = ofLoopback.map(({ address }) => address);
/** Where all addresses are served this one is, too; it is not among those that the interface tells. */
const ELSEWHERE = "127.0.0.2";

/** Whether somebody listens there. */
function isServed(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port });
    onTestFinished(() => void socket.destroy());
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
  });
}

/** Which of the addresses are served there. */
const served = async (port: number): Promise<string[]> => {
  const all = [...addresses, ELSEWHERE];
  const answers = await Promise.all(all.map((host) => isServed(host, port)));
  return all.filter((_host, index) => answers[index]);
};

it("a listener with bind_interface is at all addresses of the interface, and at no other; at those of one family or at one where it says so", async () => {
  const [all = 0, four = 0, noSix = 0, one = 0, named = 0, everywhere = 0] = await freePorts(6);
  const lines = [
    `listener ${all}`, `bind_interface ${loopback}`, `listener ${four} 0.0.0.0`, `bind_interface ${loopback.toUpperCase()}`, `listener ${noSix}`, "ipv6 false", `bind_interface ${loopback}`,
    `listener ${one} 127.0.0.1`, `bind_interface ${loopback}`, `listener ${named} localhost auto`, `bind_interface ${loopback}`, `listener ${everywhere}`,
  ];
  const daemon = await DaemonProcess.startForTest(lines.join("\n"));
  const ofFour = addresses.filter((address) => net.isIPv4(address));
  expect(await Promise.all([all, four, noSix, one].map(served))).toEqual([addresses, ofFour, ofFour, ["127.0.0.1"]]);
  expect((await served(named)).length).toBe(1);
  expect(await served(everywhere)).toContain(ELSEWHERE);
  const client = await RawClient.open(all);
  onTestFinished(() => client.destroy());
  client.send("100d 0004 4d515454 04 02 0000 0001 61");
  expect(await client.frame()).toBe("20020000");
  expect((await daemon.kill())?.code).toBe(0);
});

it("the default listener has one, too, and a reload that gives a listener one, or takes it, opens it anew", async () => {
  const [port = 0] = await freePorts(1);
  const daemon = await DaemonProcess.startForTest(`port ${port}\nbind_interface ${loopback}`);
  expect(await served(port)).toEqual(addresses);
  await daemon.reload(`bind_interface ${loopback}`, "");
  expect(await served(port)).toContain(ELSEWHERE);
  await daemon.reload(`port ${port}`, `port ${port}\nbind_interface nothing0`, /CWNAN0323/);
  expect(await served(port)).toContain(ELSEWHERE); // it goes on as it was
  await daemon.reload("bind_interface nothing0", `bind_interface ${loopback}`);
  expect(await served(port)).toEqual(addresses);
});

it.each([
  ["", "nothing0", /\(line 2\): bind_interface nothing0: no network interface of that name has an address; there are .*\blo\b/],
  ["192.0.2.77", loopback, /\(line 2\): bind_interface .*: the interface does not have the address 192\.0\.2\.77/],
])("at %j of %s it does not start, and says why", async (address, name, problem) => {
  const [port = 0] = await freePorts(1);
  const daemon = new DaemonProcess(`listener ${port} ${address}\nbind_interface ${name}`);
  onTestFinished(() => daemon.cleanup());
  daemon.spawn();
  expect((await daemon.exited()).code).not.toBe(0);
  expect(daemon.lines.join("\n")).toMatch(problem);
});
