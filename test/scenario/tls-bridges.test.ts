import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import path from "node:path";
import tls from "node:tls";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { WebSocketServer } from "ws";
import { Authority, opensslAvailable, opensslMissing, type Certificate } from "./certificates.ts";
import { connect311, type TestClient } from "./clients.ts";
import { DaemonProcess, freePort } from "./daemon.ts";
import { MosquittoProcess, mosquittoAvailable } from "./mosquitto.ts";
import { LineProcess, makeFolder, removeFolder } from "./process.ts";

const isMissing = !opensslAvailable() || !mosquittoAvailable();
const tinyproxy = ["/usr/bin/tinyproxy", "/usr/sbin/tinyproxy"].find((file) => existsSync(file));

describe.skipIf(isMissing)(`bridges over TLS${isMissing ? ` (${opensslMissing}, or mosquitto)` : ""}`, () => {
  let folder: string;
  let authority: Authority;
  let server: Certificate;
  let ours: Certificate;
  const closing: (() => unknown)[] = [];

  beforeAll(() => {
    folder = makeFolder("tls-bridges");
    authority = new Authority(folder);
    server = authority.issue("server");
    ours = authority.issue("edge");
  });

  afterAll(() => removeFolder(folder));

  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close();
  });

  /** A mosquitto that speaks TLS on a port of its own, and without on `port`. */
  async function mosquittoWith(extra: string, certificate = server): Promise<{ mosquitto: MosquittoProcess; securePort: number }> {
    const securePort = await freePort();
    const mosquitto = await MosquittoProcess.start({ extra: `listener ${securePort} 127.0.0.1\n${extra.includes("psk_hint") ? "" : `certfile ${certificate.cert}\nkeyfile ${certificate.key}\n`}${extra}` });
    closing.push(() => mosquitto.cleanup());
    return { mosquitto, securePort };
  }

  async function edgeWith(connection: string): Promise<{ daemon: DaemonProcess; port: number }> {
    const port = await freePort();
    const daemon = await DaemonProcess.start(`listener ${port} 127.0.0.1\nconnection up\nreconnect_interval 1 1\n${connection}\ntopic up/# out\ntopic down/# in`);
    closing.push(() => daemon.cleanup());
    return { daemon, port };
  }

  async function clientOf(port: number): Promise<TestClient> {
    const client = await connect311(port);
    closing.push(() => client.end());
    return client;
  }

  /** A message of QoS 1 each way between the edge and the remote. */
  async function carries(daemon: DaemonProcess, edgePort: number, remotePort: number): Promise<void> {
    await daemon.waitForLine(/CWNAN0133I/);
    const [here, there] = [await clientOf(edgePort), await clientOf(remotePort)];
    await there.subscribe("up/#", 1);
    await here.subscribe("down/#", 1);
    const text = "x".repeat(300_000);
    await here.publish("up/1", `there ${text}`, { qos: 1 });
    await there.publish("down/1", `here ${text}`, { qos: 1 });
    await there.waitFor("up/1", `there ${text}`);
    await here.waitFor("down/1", `here ${text}`);
  }

  describe("to mosquitto", () => {
    it("with bridge_cafile, as in mosquitto's own configuration", async () => {
      const { mosquitto, securePort } = await mosquittoWith("");
      const { daemon, port } = await edgeWith(`address localhost:${securePort}\nbridge_cafile ${authority.cert}\nbridge_tls_version tlsv1.2\nbridge_insecure false`);
      await carries(daemon, port, mosquitto.port);
    });

    it("with a certificate of our own, at mqtts://", async () => {
      const { mosquitto, securePort } = await mosquittoWith(`cafile ${authority.cert}\nrequire_certificate true\nuse_identity_as_username true`);
      const { daemon, port } = await edgeWith(`address mqtts://127.0.0.1:${securePort}\nbridge_cafile ${authority.cert}\nbridge_certfile ${ours.cert}\nbridge_keyfile ${ours.key}`);
      await carries(daemon, port, mosquitto.port);
      await mosquitto.waitForLine(/New bridge connected .* as .*up .*u'edge'/);
    });

    it("with a shared key", async () => {
      const psks = path.join(folder, "psks");
      writeFileSync(psks, "edge:00112233445566778899aabbccddeeff\n");
      const { mosquitto, securePort } = await mosquittoWith(`psk_hint hint\npsk_file ${psks}`);
      const { daemon, port } = await edgeWith(`address localhost:${securePort}\nbridge_identity edge\nbridge_psk 00112233445566778899aabbccddeeff`);
      await carries(daemon, port, mosquitto.port);
    });

    it("and comes back when the remote has been away", async () => {
      const { mosquitto, securePort } = await mosquittoWith("");
      const { daemon, port } = await edgeWith(`address localhost:${securePort}\nbridge_cafile ${authority.cert}\ncleansession false\nkeepalive_interval 5`);
      await daemon.waitForLine(/CWNAN0133I/);
      await mosquitto.kill();
      const here = await clientOf(port);
      for (let i = 0; i < 200; i++) await here.publish(`up/${i}`, String(i), { qos: 1 });
      const from = daemon.lines.length;
      await mosquitto.start();
      const there = await clientOf(mosquitto.port);
      await there.subscribe("up/#", 1);
      await daemon.waitForLine(/CWNAN0133I/, { from });
      expect((await there.waitForMessages(200)).map(({ payload }) => payload)).toEqual(Array.from({ length: 200 }, (_, i) => String(i)));
    });
  });

  it("come in from mosquitto, with its certificate as the user name", async () => {
    const acl = path.join(folder, "acl");
    writeFileSync(acl, "user edge\ntopic readwrite up/#\ntopic readwrite down/#\ntopic write $SYS/#\n");
    const [plain, secure] = [await freePort(), await freePort()];
    const daemon = await DaemonProcess.start(
      `listener ${plain} 127.0.0.1\nlistener ${secure} 127.0.0.1\ncertfile ${server.cert}\nkeyfile ${server.key}\ncafile ${authority.cert}\nrequire_certificate true\nuse_identity_as_username true`,
    );
    closing.push(() => daemon.cleanup());
    const mosquitto = await MosquittoProcess.start({
      extra: `connection in\naddress localhost:${secure}\nbridge_cafile ${authority.cert}\nbridge_certfile ${ours.cert}\nbridge_keyfile ${ours.key}\ntopic up/# out 1\ntopic down/# in 1\nrestart_timeout 1`,
    });
    closing.push(() => mosquitto.cleanup());
    await daemon.waitForLine(/CWNAN0033I/);
    const [here, there] = [await clientOf(plain), await clientOf(mosquitto.port)];
    await here.subscribe("up/#", 1);
    await there.subscribe("down/#", 1);
    await mosquitto.waitForLine(/Received SUBACK from local/);
    await there.publish("up/1", "a", { qos: 1 });
    await here.publish("down/1", "b", { qos: 1 });
    await here.waitFor("up/1", "a");
    await there.waitFor("down/1", "b");
  });

  describe("name what is wrong, and try again", () => {
    const fails = async (connection: string, reason: RegExp): Promise<DaemonProcess> => {
      const { daemon } = await edgeWith(connection);
      await daemon.waitForLine(new RegExp(`CWNAN0130W .*: ${reason.source}`), { count: 2 });
      expect(daemon.lines.filter((line) => line.includes("CWNAN0133I"))).toEqual([]);
      return daemon;
    };

    it("a CA that is not trusted, and none that the system trusts", async () => {
      const { securePort } = await mosquittoWith("");
      const stranger = new Authority(path.join(folder, "stranger"), "stranger");
      await fails(`address localhost:${securePort}\nbridge_cafile ${stranger.cert}`, /its certificate is of a CA that is not trusted/);
      await fails(`address mqtts://localhost:${securePort}`, /its certificate is of a CA that is not trusted/);
    });

    it("a certificate for another host, which bridge_insecure takes, with a warning", async () => {
      const { securePort, mosquitto } = await mosquittoWith("", authority.issue("elsewhere", { names: "DNS:elsewhere.example" }));
      const connection = `address localhost:${securePort}\nbridge_cafile ${authority.cert}`;
      await fails(connection, /Hostname\/IP does not match certificate's altnames: Host: localhost\. is not in the cert's altnames: DNS:elsewhere\.example/);
      const { daemon, port } = await edgeWith(`${connection}\nbridge_insecure true`);
      await daemon.waitForLine(/warning: connection up: bridge_insecure: whoever has a certificate/);
      await carries(daemon, port, mosquitto.port);
    });

    it("bridge_insecure or not, a certificate of nobody who is trusted", async () => {
      const { securePort } = await mosquittoWith("", new Authority(path.join(folder, "other"), "other").issue("server"));
      await fails(`address localhost:${securePort}\nbridge_cafile ${authority.cert}\nbridge_insecure true`, /its certificate is of a CA that is not trusted/);
    });

    it("a certificate that has expired", async () => {
      const { securePort } = await mosquittoWith("", authority.issue("expired", { days: -2 }));
      await fails(`address localhost:${securePort}\nbridge_cafile ${authority.cert}`, /its certificate has expired/);
    });

    it("a remote that wants a certificate of us", async () => {
      const { securePort } = await mosquittoWith(`cafile ${authority.cert}\nrequire_certificate true`);
      await fails(`address localhost:${securePort}\nbridge_cafile ${authority.cert}`, /the other side (wants a certificate of us|refuses what we offer)/);
    });

    it("a remote that does not speak TLS, and one that never answers", async () => {
      const mosquitto = await MosquittoProcess.start();
      closing.push(() => mosquitto.cleanup());
      await fails(`address mqtts://localhost:${mosquitto.port}\nbridge_cafile ${authority.cert}`, /the connection was closed|it does not speak TLS|.*reset/);
      const deaf = net.createServer(() => undefined);
      deaf.listen(0, "127.0.0.1");
      await once(deaf, "listening");
      closing.push(() => deaf.close());
      const { daemon } = await edgeWith(`address mqtts://127.0.0.1:${(deaf.address() as net.AddressInfo).port}\nbridge_cafile ${authority.cert}\nconnect_timeout 1`);
      await daemon.waitForLine(/CWNAN0128I/, { count: 2 });
    });
  });

  it("use new files with the next connection, and the old ones while the new can't be used", async () => {
    const cert = path.join(folder, "renewed.pem");
    const key = path.join(folder, "renewed.key");
    const put = (from: Certificate): void => {
      writeFileSync(cert, readFileSync(from.cert));
      writeFileSync(key, readFileSync(from.key));
    };
    put(authority.issue("one"));
    const { securePort, mosquitto } = await mosquittoWith(`cafile ${authority.cert}\nrequire_certificate true\nuse_identity_as_username true`);
    const { daemon } = await edgeWith(`address localhost:${securePort}\nbridge_cafile ${authority.cert}\nbridge_certfile ${cert}\nbridge_keyfile ${key}`);
    await mosquitto.waitForLine(/as .*up .*u'one'/);
    writeFileSync(key, "");
    await mosquitto.restart();
    await daemon.waitForLine(/CWNAN0353E .*bridge_keyfile .*renewed\.key: it holds no private key/);
    await mosquitto.waitForLine(/as .*up .*u'one'/, { count: 2 });
    put(authority.issue("two"));
    await mosquitto.restart();
    await mosquitto.waitForLine(/as .*up .*u'two'/);
  });

  it("offer bridge_alpn and the host's name", async () => {
    const shown: unknown[] = [];
    const remote = tls.createServer({ cert: readFileSync(server.cert), key: readFileSync(server.key), ALPNProtocols: ["x-amzn-mqtt-ca"] }, (socket) => {
      shown.push(socket.alpnProtocol, (socket as unknown as { servername: string }).servername);
      socket.on("error", () => undefined).destroy();
    });
    remote.listen(0, "127.0.0.1");
    await once(remote, "listening");
    closing.push(() => remote.close());
    const { daemon } = await edgeWith(`address localhost:${(remote.address() as net.AddressInfo).port}\nbridge_cafile ${authority.cert}\nbridge_alpn x-amzn-mqtt-ca`);
    await daemon.waitForLine(/CWNAN0154I/);
    expect(shown.slice(0, 2)).toEqual(["x-amzn-mqtt-ca", "localhost"]);
  });

  describe("over WebSockets", () => {
    it("to another daemon, with and without TLS", async () => {
      const [plain, web, secureWeb] = [await freePort(), await freePort(), await freePort()];
      const remote = await DaemonProcess.start(
        `listener ${plain} 127.0.0.1\nlistener ${web} 127.0.0.1\nprotocol websockets\nlistener ${secureWeb} 127.0.0.1\nprotocol websockets\ncertfile ${server.cert}\nkeyfile ${server.key}`,
      );
      closing.push(() => remote.cleanup());
      const overPlain = await edgeWith(`address ws://127.0.0.1:${web}`);
      await carries(overPlain.daemon, overPlain.port, plain);
      await overPlain.daemon.cleanup();
      const overTls = await edgeWith(`address wss://localhost:${secureWeb}/mqtt?x=1\nbridge_cafile ${authority.cert}`);
      await carries(overTls.daemon, overTls.port, plain);
    });

    it("hear what the remote says together with its answer to the upgrade", async () => {
      const remote = net.createServer((socket) => {
        socket.on("error", () => undefined).once("data", (request: Buffer) => {
          const [, key = ""] = /sec-websocket-key: (\S+)/i.exec(request.toString("latin1")) ?? [];
          const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
          const head = `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`;
          socket.write(Buffer.concat([Buffer.from(head), Buffer.from("810474657874", "hex")]));
        });
      });
      remote.listen(0, "127.0.0.1");
      await once(remote, "listening");
      closing.push(() => remote.close());
      const { daemon } = await edgeWith(`address ws://127.0.0.1:${(remote.address() as net.AddressInfo).port}`);
      await daemon.waitForLine(/CWNAN0130W .*a WebSocket message of text/);
    });

    it("a remote that floods, sends text or answers no upgrade costs little", async () => {
      const web = http.createServer((_request, response) => response.writeHead(404).end());
      const sockets = new WebSocketServer({ server: web });
      let turn = 0;
      sockets.on("connection", (socket) => {
        socket.on("error", () => undefined);
        turn += 1;
        if (turn === 1) return socket.send("text");
        if (turn === 2) return socket.send(Buffer.alloc(3_000_000, 0x30));
        for (let i = 0; i < 20_000; i++) socket.send(Buffer.alloc(1, 0x20), { fin: false });
      });
      web.listen(0, "127.0.0.1");
      await once(web, "listening");
      closing.push(() => {
        for (const socket of sockets.clients) socket.terminate();
        web.close();
      });
      const { port } = web.address() as net.AddressInfo;
      const { daemon, port: edgePort } = await edgeWith(`address ws://127.0.0.1:${port}`);
      await daemon.waitForLine(/CWNAN0130W/, { count: 3 });
      const from = daemon.lines.length;
      sockets.removeAllListeners("connection");
      web.removeAllListeners("upgrade");
      web.on("upgrade", (_request, socket) => socket.end("HTTP/1.1 403 Forbidden\r\n\r\n"));
      await daemon.waitForLine(/CWNAN0130W .*Unexpected server response: 403/, { from });
      await (await clientOf(edgePort)).publish("x", "alive", { qos: 1 });
    });
  });

  describe.skipIf(tinyproxy === undefined)(`through a proxy${tinyproxy === undefined ? " (skipped: tinyproxy is not installed)" : ""}`, () => {
    async function proxyWith(extra: string): Promise<{ proxy: LineProcess; port: number }> {
      const port = await freePort();
      const file = path.join(folder, `proxy${port}.conf`);
      writeFileSync(file, `Port ${port}\nListen 127.0.0.1\nTimeout 600\nLogLevel Info\n${extra}`);
      const proxy = new LineProcess("tinyproxy", tinyproxy ?? "", ["-d", "-c", file], folder);
      closing.push(() => proxy.kill());
      proxy.spawn();
      await proxy.waitForLine(/Accepting connections|Starting main loop/);
      return { proxy, port };
    }

    it("TCP, TLS and WebSockets, with a user and a password", async () => {
      const { port: proxyPort, proxy } = await proxyWith("BasicAuth edge s3cret\n");
      const { mosquitto, securePort } = await mosquittoWith("");
      const through = `bridge_proxy http://edge:s3%63ret@127.0.0.1:${proxyPort}`;
      const plain = await edgeWith(`address localhost:${mosquitto.port}\n${through}`);
      await carries(plain.daemon, plain.port, mosquitto.port);
      await proxy.waitForLine(new RegExp(`CONNECT localhost:${mosquitto.port}`));
      await plain.daemon.cleanup();
      const secure = await edgeWith(`address localhost:${securePort}\nbridge_cafile ${authority.cert}\n${through}`);
      await carries(secure.daemon, secure.port, mosquitto.port);
      const web = await freePort();
      const remote = await DaemonProcess.start(`listener ${web} 127.0.0.1\nprotocol auto`);
      closing.push(() => remote.cleanup());
      const overWeb = await edgeWith(`address ws://localhost:${web}\n${through}`);
      await carries(overWeb.daemon, overWeb.port, web);
      expect(secure.daemon.lines.join()).not.toMatch(/s3(c|%63)ret/);
    });

    it("that refuses us, which the log says", async () => {
      const { port: proxyPort } = await proxyWith("BasicAuth edge secret\n");
      const { mosquitto } = await mosquittoWith("");
      const { daemon } = await edgeWith(`address localhost:${mosquitto.port}\nbridge_proxy http://edge:wrong@127.0.0.1:${proxyPort}`);
      await daemon.waitForLine(/CWNAN0130W .*the proxy answers 40[137]/, { count: 2 });
      const { daemon: other } = await edgeWith(`address localhost:1\nbridge_proxy http://edge:secret@127.0.0.1:${mosquitto.port}`);
      await other.waitForLine(/CWNAN0130W .*the proxy does not answer as one/);
    });

    it.each(["mqtts", "wss"])("that opens a tunnel and closes it at once, at %s, is not waited for", async (scheme) => {
      const proxy = net.createServer((socket) => void socket.on("error", () => undefined).once("data", () => socket.end("HTTP/1.1 200 OK\r\n\r\n"))).listen(0, "127.0.0.1");
      closing.push(() => void proxy.close());
      await once(proxy, "listening");
      const { daemon } = await edgeWith(`address ${scheme}://localhost:1\nbridge_cafile ${authority.cert}\nbridge_proxy http://127.0.0.1:${(proxy.address() as net.AddressInfo).port}`);
      await daemon.waitForLine(/CWNAN0130W .*closed/);
    });
  });

  it("are checked before the start", () => {
    const check = (connection: string): string[] => {
      const file = path.join(folder, "check.cfg");
      writeFileSync(file, `listener 1 127.0.0.1\nconnection up\n${connection}\ntopic # out`);
      const { stdout } = spawnSync(process.execPath, [path.join(import.meta.dirname, "..", "..", "dist", "amqtdd.js"), "check", file], { encoding: "utf8" });
      return stdout.trim().split("\n").filter((line) => !line.includes(": note: ")).map((line) => line.replaceAll(`${folder}/`, ""));
    };
    const stranger = authority.issue("key-of-another");
    expect(check(`address mqtts://h\nbridge_cafile ${authority.cert}`)).toEqual(["check.cfg: no problems"]);
    expect(check(`address h\nbridge_cafile ${authority.cert}`)).toEqual([
      "check.cfg:4:1: warning: connection up: TLS is spoken to h port 1883, which is usually without; mqtts://h means port 8883", "check.cfg: usable",
    ]);
    expect(check(`address mqtts://h\nbridge_certfile ${ours.cert}\nbridge_keyfile ${stranger.key}`)).toEqual(["check.cfg:5:16: error: bridge_keyfile key-of-another.key: it is not the key of edge.pem"]);
    expect(check("address mqtts://h\nbridge_cafile /none").join()).toContain("check.cfg:4:15: error: bridge_cafile /none: ENOENT");
    expect(check(`address h\nbridge_certfile ${ours.cert}\nbridge_keyfile ${ours.key}`).join()).toContain("check.cfg:4:17: error: bridge_certfile needs bridge_cafile, bridge_capath or bridge_psk");
    expect(check(`address mqtt://h\nbridge_cafile ${authority.cert}`).join()).toContain("error: bridge_cafile and no address with TLS");
    expect(check(`address mqtts://h mqtt://i\nbridge_cafile ${authority.cert}`).join()).toContain("check.cfg:3:19: error: address mqtt://i is without TLS");
    expect(check("address mqtts://h\nbridge_psk 0").join()).toContain("bridge_psk is not an even number of hexadecimal digits");
    expect(check("address mqtts://h\ncertfile x").join()).toContain("check.cfg:4:1: error: certfile belongs to a listener; a connection has bridge_certfile");
    expect(check("address h\nbridge_proxy http://u:secret@h").join()).toBe("check.cfg:4:14: error: bridge_proxy: wanted is http://[user:password@]host:port");
  });
});
