import { it } from "vitest";
import { DaemonProcess, freePorts } from "./daemon.ts";

it.each(["mqtt", "ws"])("a bridge to an address %s:// comes from its bridge_bind_address, which a reload changes", async (scheme) => {
  const [remotePort = 0, port = 0] = await freePorts(2);
  const remote = await DaemonProcess.startForTest(`listener ${remotePort} 127.0.0.1 auto`);
  const edge = await DaemonProcess.startForTest(`listener ${port} 127.0.0.1\nconnection up\naddress ${scheme}://127.0.0.1:${remotePort}\nclientid edge\nbridge_bind_address 127.0.0.2\ntopic # out 1`);
  await remote.waitForLine(/CWNAN0033I .* client edge at 127\.0\.0\.2:/);
  const from = remote.lines.length;
  await edge.reload("bridge_bind_address 127.0.0.2", "bridge_bind_address 127.0.0.3");
  await remote.waitForLine(/CWNAN0033I .* client edge at 127\.0\.0\.3:/, { from });
});

it("an address that is not this machine's is told, and tried again: it may come", async () => {
  const [remotePort = 0, port = 0] = await freePorts(2);
  const edge = await DaemonProcess.startForTest(`listener ${port} 127.0.0.1\nconnection up\naddress 127.0.0.1:${remotePort}\nreconnect_interval 1 1\nbridge_bind_address 203.0.113.9\ntopic # out 1`);
  await edge.waitForLine(/CWNAN0130W .*EADDRNOTAVAIL.*203\.0\.113\.9/, { count: 2 });
});
