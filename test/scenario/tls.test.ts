import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import tls from "node:tls";
import mqtt from "mqtt";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { Authority, opensslAvailable, opensslMissing, type Certificate } from "./certificates.ts";
import { connect311, mqttString, packet } from "./clients.ts";
import { DaemonProcess, freePort, freePorts } from "./daemon.ts";
import { mosquittoAvailable } from "./mosquitto.ts";
import { makeFolder, removeFolder, within } from "./process.ts";

const isMissing = !opensslAvailable() || !mosquittoAvailable();

describe.skipIf(isMissing)(`TLS listeners${isMissing ? ` (${opensslMissing}, or mosquitto)` : ""}`, () => {
  let folder: string;
  let authority: Authority;
  let server: Certificate;
  const daemons: DaemonProcess[] = [];

  beforeAll(() => {
    folder = makeFolder("tls");
    authority = new Authority(folder);
    server = authority.issue("server");
  });

  afterAll(() => removeFolder(folder));

  afterEach(async () => {
    for (const daemon of daemons.splice(0)) await daemon.cleanup();
  });

  const withKey = ({ cert, key }: Certificate): string => `certfile ${cert}\nkeyfile ${key}\n`;

  async function start(keywords: string, before = ""): Promise<{ daemon: DaemonProcess; port: number }> {
    const port = await freePort();
    const daemon = await DaemonProcess.start(`${before}\nlistener ${port} 127.0.0.1\n${keywords}`);
    daemons.push(daemon);
    return { daemon, port };
  }

  /** Runs one of mosquitto's clients against localhost. */
  function run(program: "mosquitto_pub" | "mosquitto_sub", port: number, ...args: string[]): { status: number | null; stdout: string; stderr: string } {
    const { status, stdout, stderr } = spawnSync(program, ["-h", "localhost", "-p", String(port), ...args], { encoding: "utf8", timeout: 15_000 });
    return { status, stdout, stderr };
  }

  const publishes = (port: number, topic: string, ...args: string[]): boolean => run("mosquitto_pub", port, "-q", "1", "-r", "-t", topic, "-m", topic, ...args).status === 0;
  const trusting = (): string[] => ["--cafile", authority.cert];
  const showing = ({ cert, key }: Certificate): string[] => [...trusting(), "--cert", cert, "--key", key];

  /** What openssl says of a handshake. */
  function handshake(port: number, ...args: string[]): string {
    const { stdout, stderr } = spawnSync("openssl", ["s_client", "-connect", `127.0.0.1:${port}`, "-CAfile", authority.cert, ...args], { input: "", encoding: "utf8", timeout: 15_000 });
    return stdout + stderr;
  }

  const isAgreed = (said: string): boolean => said.includes("Verify return code: 0 (ok)") && !said.includes("Cipher is (NONE)");

  /** The serial number of the certificate that new connections are shown. */
  function shownSerial(port: number): Promise<string> {
    const socket = tls.connect({ port, host: "localhost", ca: authority.pem });
    return new Promise((resolve, reject) => {
      socket.once("error", reject);
      socket.once("secureConnect", () => {
        resolve(socket.getPeerCertificate().serialNumber);
        socket.destroy();
      });
    });
  }

  /** CONNECT over TLS: the answer, empty if the connection is closed instead, and the session to take up again. */
  function askFor(options: tls.ConnectionOptions): Promise<{ connack: string; session: Buffer; isReused: boolean }> {
    const socket = tls.connect({ host: "localhost", ca: authority.pem, ...options });
    const answer = { connack: "", session: Buffer.from(""), isReused: false };
    socket.on("session", (session: Buffer) => Object.assign(answer, { session }));
    socket.on("error", () => undefined);
    socket.write(Buffer.from(packet(0x10, Buffer.concat([mqttString("MQTT"), Buffer.from([4, 2, 0, 60]), mqttString("c")])), "hex"));
    socket.once("data", (bytes: Buffer) => {
      Object.assign(answer, { connack: bytes.toString("hex"), isReused: socket.isSessionReused() });
      socket.destroy();
    });
    return within(new Promise((resolve) => socket.once("close", () => resolve(answer))), 10_000, () => "neither CONNACK nor an end");
  }

  describe("serve", () => {
    it.each(["tlsv1.2", "tlsv1.3"])("mosquitto's clients with %s", async (version) => {
      const { port } = await start(withKey(server));
      expect(publishes(port, "a/b", ...trusting(), "--tls-version", version)).toBe(true);
      expect(run("mosquitto_sub", port, "-t", "a/#", "-C", "1", "-W", "10", ...trusting(), "--tls-version", version)).toMatchObject({ status: 0, stdout: "a/b\n" });
    });

    it("MQTT.js, messages that fill many TLS records in both directions", async () => {
      const { port } = await start(withKey(server));
      const client = await mqtt.connectAsync(`mqtts://localhost:${port}`, { ca: authority.pem, reconnectPeriod: 0 });
      try {
        const payloads = Array.from({ length: 20 }, (_, i) => Buffer.alloc(100_000 + i * 40_000, i));
        const received: Buffer[] = [];
        const all = new Promise<void>((resolve) => {
          client.on("message", (_topic, payload) => {
            received.push(payload);
            if (received.length === payloads.length) resolve();
          });
        });
        await client.subscribeAsync("large", { qos: 1 });
        await Promise.all(payloads.map((payload) => client.publishAsync("large", payload, { qos: 1 })));
        await within(all, 20_000, () => `${received.length} received`);
        expect(received.map((payload, i) => payload.equals(payloads[i] ?? Buffer.alloc(0)))).not.toContain(false);
      } finally {
        await client.endAsync(true);
      }
    });

    it("the default listener too, beside one without TLS", async () => {
      const [plain, secure] = (await freePorts(2)) as [number, number];
      daemons.push(await DaemonProcess.start(`port ${secure}\nbind_address 127.0.0.1\n${withKey(server)}listener ${plain} 127.0.0.1`));
      expect(publishes(secure, "x", ...trusting())).toBe(true);
      expect(run("mosquitto_sub", plain, "-t", "x", "-C", "1", "-W", "10")).toMatchObject({ status: 0, stdout: "x\n" });
    });

    it("the versions and ciphers that are configured and no others", async () => {
      const { port } = await start(`${withKey(server)}tls_version tlsv1.3\nciphers_tls1.3 TLS_AES_128_GCM_SHA256`);
      expect(isAgreed(handshake(port, "-tls1_2"))).toBe(false);
      expect(handshake(port)).toContain("New, TLSv1.3, Cipher is TLS_AES_128_GCM_SHA256");
      expect(isAgreed(handshake(port, "-ciphersuites", "TLS_AES_256_GCM_SHA384"))).toBe(false);
      const old = await start(`${withKey(server)}ciphers ECDHE-ECDSA-AES256-GCM-SHA384`);
      expect(handshake(old.port, "-tls1_2")).toContain("Cipher is ECDHE-ECDSA-AES256-GCM-SHA384");
      expect(isAgreed(handshake(old.port, "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"))).toBe(false);
      expect(isAgreed(handshake(old.port, "-tls1_1", "-cipher", "ALL@SECLEVEL=0"))).toBe(false);
      expect(handshake(old.port)).toContain("New, TLSv1.3"); // ciphers speaks of 1.2 alone
    });
  });

  describe("client certificates", () => {
    it("are asked for: without one, with one of a stranger, or with one that has expired nobody comes in", async () => {
      const { port, daemon } = await start(`${withKey(server)}cafile ${authority.cert}\nrequire_certificate true`);
      const stranger = new Authority(path.join(folder, "stranger"), "stranger").issue("mallory");
      const expired = authority.issue("expired", { days: -1 });
      expect(publishes(port, "good", ...showing(authority.issue("good")))).toBe(true);
      expect(publishes(port, "none", ...trusting())).toBe(false);
      await daemon.waitForLine(/CWNAN0352W .*port \d+ has failed: it has shown no certificate/);
      expect(publishes(port, "stranger", ...showing(stranger))).toBe(false);
      expect(publishes(port, "expired", ...showing(expired))).toBe(false);
      expect(run("mosquitto_sub", port, "-t", "#", "-W", "1", ...showing(authority.issue("reader"))).stdout).toBe("good\n");
    });

    it("with CAs in a folder", async () => {
      const cas = makeFolder("cas");
      try {
        copyFileSync(authority.cert, path.join(cas, "our-ca.crt"));
        writeFileSync(path.join(cas, "README"), "certificates live here\n");
        const { port } = await start(`${withKey(server)}capath ${cas}\nrequire_certificate true`);
        expect(publishes(port, "good", ...showing(authority.issue("good")))).toBe(true);
        expect(publishes(port, "none", ...trusting())).toBe(false);
      } finally {
        removeFolder(cas);
      }
    });

    it("are user names for the ACL, without a password file; what CONNECT says does not count", async () => {
      const acl = path.join(folder, "acl");
      writeFileSync(acl, "user ann\ntopic ann/#\nuser Bärbel Ünal\ntopic readwrite baerbel/#\n");
      const { port } = await start(`${withKey(server)}cafile ${authority.cert}\nrequire_certificate true\nuse_identity_as_username true`, `allow_anonymous false\nacl_file ${acl}`);
      const ann = authority.issue("ann");
      const baerbel = authority.issue("baerbel", { subject: "/O=Werk/CN=Bärbel Ünal" });
      publishes(port, "ann/1", ...showing(ann), "-u", "Bärbel Ünal", "-P", "x");
      publishes(port, "baerbel/1", ...showing(ann), "-u", "Bärbel Ünal", "-P", "x");
      publishes(port, "baerbel/2", ...showing(baerbel), "-u", "ann");
      publishes(port, "ann/2", ...showing(baerbel), "-u", "ann");
      expect(run("mosquitto_sub", port, "-t", "#", "-W", "1", ...showing(ann)).stdout).toBe("ann/1\n");
      expect(run("mosquitto_sub", port, "-t", "#", "-W", "1", ...showing(baerbel)).stdout).toBe("baerbel/2\n");
    });

    it("keep their user name when a session of TLS is taken up again", async () => {
      const { port, daemon } = await start(`${withKey(server)}cafile ${authority.cert}\nrequire_certificate true\nuse_identity_as_username true`, "trace_output protocol");
      const { cert, key } = authority.issue("again");
      for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
        const options = { port, cert: readFileSync(cert), key: readFileSync(key), maxVersion };
        const first = await askFor(options);
        expect(first).toMatchObject({ connack: "20020000", isReused: false });
        expect(await askFor({ ...options, session: first.session })).toMatchObject({ connack: "20020000", isReused: true });
      }
      expect(daemon.lines.filter((line) => line.includes("CWNAN0352W"))).toEqual([]);
    });

    it("give their whole subject as mosquitto spells it", async () => {
      const acl = path.join(folder, "acl-subject");
      writeFileSync(acl, "user CN=M\\C3\\BCller\\, Jr.,OU=Test,O=Server\ntopic its/#\n");
      const { port } = await start(`${withKey(server)}cafile ${authority.cert}\nrequire_certificate true\nuse_subject_as_username true`, `acl_file ${acl}`);
      const client = authority.issue("subject", { subject: "/O=Server/OU=Test/CN=Müller, Jr." });
      publishes(port, "its/own", ...showing(client));
      publishes(port, "others", ...showing(client));
      expect(run("mosquitto_sub", port, "-t", "#", "-W", "1", ...showing(client)).stdout).toBe("its/own\n");
    });

    it("without a common name are no user", async () => {
      const { port, daemon } = await start(`${withKey(server)}cafile ${authority.cert}\nrequire_certificate true\nuse_identity_as_username true`);
      expect(publishes(port, "x", ...showing(authority.issue("nameless", { subject: "/O=Nobody" })))).toBe(false);
      await daemon.waitForLine(/has failed: its certificate has no name to be a user name/);
    });
  });

  describe("shared keys", () => {
    it("are taken with their identity as the user name", async () => {
      const psks = path.join(folder, "psks");
      writeFileSync(psks, "# who: key\nsensor1:00112233445566778899aabbccddeeff\nsensor2:ffeeddccbbaa99887766554433221100\n");
      const acl = path.join(folder, "acl-psk");
      writeFileSync(acl, "user sensor1\ntopic one/#\nuser sensor2\ntopic two/#\n");
      const { port, daemon } = await start("psk_hint here\nuse_identity_as_username true", `psk_file ${psks}\nacl_file ${acl}`);
      const knowing = (identity: string, key: string): string[] => ["--psk-identity", identity, "--psk", key];
      const one = knowing("sensor1", "00112233445566778899aabbccddeeff");
      publishes(port, "one/1", ...one);
      publishes(port, "two/1", ...one);
      expect(run("mosquitto_sub", port, "-t", "#", "-W", "1", ...one).stdout).toBe("one/1\n");
      expect(publishes(port, "x", ...knowing("sensor1", "ffeeddccbbaa99887766554433221100"))).toBe(false);
      expect(publishes(port, "x", ...knowing("stranger", "00112233445566778899aabbccddeeff"))).toBe(false);
      await daemon.waitForLine(/CWNAN0352W/);
      for (const version of ["-tls1_2", "-tls1_3"]) {
        expect(handshake(port, version, "-psk_identity", "sensor2", "-psk", "ffeeddccbbaa99887766554433221100")).not.toContain("Cipher is (NONE)");
        expect(handshake(port, version)).toContain("Cipher is (NONE)");
      }
      writeFileSync(psks, "sensor3:0123456789abcdef0123456789abcdef\n");
      const from = daemon.lines.length;
      process.kill(daemon.pid, "SIGHUP");
      await daemon.waitForLine(/CWNAN0322I/, { from });
      expect(publishes(port, "x", ...one)).toBe(false);
      expect(publishes(port, "x", ...knowing("sensor3", "0123456789abcdef0123456789abcdef"))).toBe(true);
    });
  });

  describe("new files", () => {
    /** A folder in which certificate, key and list are exchanged. */
    const files: string[] = [];
    function place(): { cert: string; key: string; put(from: Certificate): void; folder: string } {
      const own = makeFolder("renewal");
      files.push(own);
      const [cert, key] = [path.join(own, "cert.pem"), path.join(own, "key.pem")];
      const put = (from: Certificate): void => {
        for (const [source, target] of [[from.cert, cert], [from.key, key]] as const) {
          copyFileSync(source, `${target}.new`);
          renameSync(`${target}.new`, target);
        }
      };
      return { cert, key, put, folder: own };
    }
    afterEach(() => files.splice(0).forEach(removeFolder));

    it("are used by new connections when they have been exchanged; who is there stays", async () => {
      const own = place();
      own.put(server);
      const { port, daemon } = await start(withKey(own));
      const before = await shownSerial(port);
      const client = await mqtt.connectAsync(`mqtts://localhost:${port}`, { ca: authority.pem, reconnectPeriod: 0 });
      own.put(authority.issue("renewed"));
      await daemon.waitForLine(/CWNAN0350I/);
      expect(await shownSerial(port)).not.toBe(before);
      await client.publishAsync("still", "here", { qos: 1 });
      await client.endAsync();
    });

    it("are found behind links that lead elsewhere now, as certbot does", async () => {
      const own = makeFolder("live");
      files.push(own);
      const link = (name: string, target: string): void => {
        symlinkSync(target, path.join(own, `${name}.new`));
        renameSync(path.join(own, `${name}.new`), path.join(own, name));
      };
      link("cert.pem", server.cert);
      link("key.pem", server.key);
      const { port, daemon } = await start(withKey({ cert: path.join(own, "cert.pem"), key: path.join(own, "key.pem") }));
      const before = await shownSerial(port);
      const renewed = authority.issue("archive2");
      link("cert.pem", renewed.cert);
      link("key.pem", renewed.key);
      await daemon.waitForLine(/CWNAN0350I/);
      expect(await shownSerial(port)).not.toBe(before);
      expect(daemon.lines.filter((line) => line.includes("CWNAN0351E"))).toEqual([]);
    });

    it("that can't be used leave the old ones in force, and the log says which file it is", async () => {
      const own = place();
      own.put(server);
      const { port, daemon } = await start(withKey(own));
      const before = await shownSerial(port);
      writeFileSync(own.key, "no key");
      await daemon.waitForLine(/CWNAN0351E .*keyfile .*key\.pem: it holds no private key/);
      expect(await shownSerial(port)).toBe(before);
      // A reload refuses them too, and keeps everything.
      const from = daemon.lines.length;
      process.kill(daemon.pid, "SIGHUP");
      await daemon.waitForLine(/CWNAN0323E .*amqtdd\.cfg:\d+:\d+: error: keyfile .*key\.pem/, { from });
      expect(await shownSerial(port)).toBe(before);
      own.put(authority.issue("mended"));
      await daemon.waitForLine(/CWNAN0350I/);
      expect(await shownSerial(port)).not.toBe(before);
    });

    it("that are not written to their end yet are left alone: all CAs stay in force", async () => {
      const bundle = path.join(folder, "bundle.pem");
      const other = new Authority(path.join(folder, "second"), "second");
      writeFileSync(bundle, authority.pem + other.pem);
      const { daemon } = await start(`certfile ${server.cert}\nkeyfile ${server.key}\ncafile ${bundle}\nrequire_certificate true`);
      writeFileSync(bundle, authority.pem + other.pem.slice(0, 200));
      await daemon.waitForLine(/CWNAN0351E .*cafile .*bundle\.pem: it is cut off/);
      writeFileSync(bundle, authority.pem);
      await daemon.waitForLine(/CWNAN0350I/);
    });

    it("are read at once by a reload: a certificate that is revoked now is refused, also with its old session, and who is there stays", async () => {
      const own = place();
      const crl = path.join(own.folder, "crl.pem");
      const ca = new Authority(path.join(own.folder, "ca"));
      const [good, bad] = [ca.issue("good"), ca.issue("bad")];
      ca.writeCrl(crl);
      const { port, daemon } = await start(`${withKey(server)}cafile ${ca.cert}\ncrlfile ${crl}\nrequire_certificate true`);
      const options = { ca: authority.pem, cert: readFileSync(bad.cert), key: readFileSync(bad.key), reconnectPeriod: 0 };
      const client = await mqtt.connectAsync(`mqtts://localhost:${port}`, options);
      const old = await askFor({ port, ...options });
      ca.revoke(bad);
      ca.writeCrl(crl);
      const from = daemon.lines.length;
      process.kill(daemon.pid, "SIGHUP");
      await daemon.waitForLine(/CWNAN0322I/, { from });
      expect(publishes(port, "bad", ...showing(bad))).toBe(false);
      await daemon.waitForLine(/has failed: its certificate is revoked/, { from });
      expect(publishes(port, "good", ...showing(good))).toBe(true);
      expect(old.connack).toBe("20020000");
      expect((await askFor({ port, ...options, session: old.session })).connack).toBe("");
      await client.publishAsync("still", "here", { qos: 1 });
      await client.endAsync();
    });

    it("of another CA close the door to those of the first", async () => {
      const own = place();
      const [first, second] = [new Authority(path.join(own.folder, "first")), new Authority(path.join(own.folder, "second"))];
      const ca = path.join(own.folder, "ca.pem");
      copyFileSync(first.cert, ca);
      const { port, daemon } = await start(`${withKey(server)}cafile ${ca}\nrequire_certificate true`);
      const [one, two] = [first.issue("one"), second.issue("two")];
      expect([publishes(port, "x", ...showing(one)), publishes(port, "x", ...showing(two))]).toEqual([true, false]);
      copyFileSync(second.cert, ca); // written over in place
      await daemon.waitForLine(/CWNAN0350I/);
      expect([publishes(port, "x", ...showing(one)), publishes(port, "x", ...showing(two))]).toEqual([false, true]);
    });

    it("in a folder of CAs, written over in place, close the door to those of the first", async () => {
      const own = place();
      const [first, second] = [new Authority(path.join(own.folder, "first")), new Authority(path.join(own.folder, "second"))];
      const folder = path.join(own.folder, "cas");
      mkdirSync(folder);
      copyFileSync(first.cert, path.join(folder, "ca.pem"));
      const { port, daemon } = await start(`${withKey(server)}capath ${folder}\nrequire_certificate true`);
      const [one, two] = [first.issue("one"), second.issue("two")];
      expect([publishes(port, "x", ...showing(one)), publishes(port, "x", ...showing(two))]).toEqual([true, false]);
      copyFileSync(second.cert, path.join(folder, "ca.pem"));
      await daemon.waitForLine(/CWNAN0350I/);
      expect([publishes(port, "x", ...showing(one)), publishes(port, "x", ...showing(two))]).toEqual([false, true]);
    });
  });

  describe("hostile handshakes", () => {
    const open = (port: number): net.Socket => net.connect(port, "127.0.0.1").on("error", () => undefined);
    const closed = (socket: net.Socket): Promise<void> => within(new Promise((resolve) => socket.once("close", () => resolve()).resume()), 14_000, () => "the socket is still open");

    it("are closed: plain MQTT, HTTP, garbage, and silence after ten seconds", async () => {
      const { port, daemon } = await start(withKey(server));
      const silent = open(port);
      const deaf = open(port);
      deaf.write(Buffer.from("16030100", "hex"));
      const startedMs = performance.now();
      for (const [bytes, reason] of [
        [Buffer.from(packet(0x10, Buffer.concat([mqttString("MQTT"), Buffer.from([4, 2, 0, 60]), mqttString("c")])), "hex"), /it does not speak TLS/],
        ["GET / HTTP/1.1\r\n\r\n", /CWNAN/],
        [Buffer.alloc(100_000, 0xff), /CWNAN/],
        [Buffer.from("160303ffff01", "hex"), /CWNAN/],
      ] as const) {
        const socket = open(port);
        socket.write(bytes);
        await closed(socket);
        await daemon.waitForLine(reason);
      }
      await Promise.all([closed(silent), closed(deaf)]);
      expect(performance.now() - startedMs).toBeGreaterThan(9_000);
      expect(publishes(port, "alive", ...trusting())).toBe(true);
    });

    it("end with their listener", async () => {
      const { port, daemon } = await start(withKey(server));
      const [silent, deaf] = [open(port), open(port)];
      deaf.write(await clientHello(port));
      expect(publishes(port, "alive", ...trusting())).toBe(true);
      writeFileSync(daemon.configFile, `persistence_location ${daemon.storeFolder}/\nlistener ${await freePort()} 127.0.0.1\n`);
      process.kill(daemon.pid, "SIGHUP");
      const startedMs = performance.now();
      await Promise.all([closed(silent), closed(deaf)]);
      expect(performance.now() - startedMs).toBeLessThan(5_000);
    });

    it("end at once when the other side says no more", async () => {
      const { port } = await start(withKey(server));
      const hello = await clientHello(port);
      const startedMs = performance.now();
      for (const length of [50, hello.length]) {
        const socket = open(port);
        socket.end(hello.subarray(0, length));
        await closed(socket);
      }
      expect(performance.now() - startedMs).toBeLessThan(5_000); // their time would be ten seconds
    });

    it("in any number leave room for honest ones, and let local traffic go on", async () => {
      const [plain, secure] = (await freePorts(2)) as [number, number];
      daemons.push(await DaemonProcess.start(`listener ${plain} 127.0.0.1\nlistener ${secure} 127.0.0.1\n${withKey(server)}`));
      const hello = await clientHello(secure);
      // Each begins a handshake and does not go on with it.
      const attackers = Array.from({ length: 600 }, () => open(secure));
      for (const socket of attackers) socket.write(hello);
      const local = await connect311(plain, { clientId: "local" });
      await local.publish("t", "x", { qos: 1 });
      await local.end();
      expect(publishes(secure, "honest", ...trusting())).toBe(true);
      for (const socket of attackers) socket.destroy();
    });

    it("may end at any moment", async () => {
      const { port } = await start(withKey(server));
      const hello = await clientHello(port);
      for (let length = 1; length <= hello.length; length += 7) {
        const socket = open(port);
        socket.write(hello.subarray(0, length), () => (length % 2 === 0 ? socket.destroy() : socket.resetAndDestroy()));
        await closed(socket);
      }
      expect(publishes(port, "alive", ...trusting())).toBe(true);
    });

    it("that ask for new keys get none", async () => {
      const { port } = await start(withKey(server));
      const { stdout, stderr } = spawnSync("openssl", ["s_client", "-connect", `127.0.0.1:${port}`, "-tls1_2"], { input: "R\n", encoding: "utf8" });
      expect(stdout + stderr).toMatch(/RENEGOTIATING[^]*no renegotiation/);
      expect(publishes(port, "alive", ...trusting())).toBe(true);
    });

    /** The first bytes of an honest handshake. */
    async function clientHello(port: number): Promise<Buffer> {
      const server = net.createServer();
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      const first = new Promise<Buffer>((resolve) => server.once("connection", (socket) => socket.on("error", () => undefined).once("data", resolve)));
      const client = tls.connect({ port: (server.address() as net.AddressInfo).port, host: "127.0.0.1", servername: `port${port}` }).on("error", () => undefined);
      const bytes = await first;
      client.destroy();
      server.close();
      return bytes;
    }
  });

  it("stop a start with certificates that can't be used, with the place in the configuration", async () => {
    const other = authority.issue("other");
    const check = (keywords: string): string[] => {
      const file = path.join(folder, "check.cfg");
      writeFileSync(file, `listener 1 127.0.0.1\n${keywords}`);
      const { stdout } = spawnSync(process.execPath, [path.join(import.meta.dirname, "..", "..", "dist", "amqtdd.js"), "check", file], { encoding: "utf8" });
      rmSync(file);
      return stdout.trim().split("\n").map((line) => line.replaceAll(`${folder}/`, ""));
    };
    const day = (days: number): string => new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 10);
    expect(check(withKey(server))).toEqual([`check.cfg:2:10: note: certfile server.pem: CN=server is valid until ${day(365)}`, "check.cfg: no problems"]);
    expect(check(`certfile ${server.cert}\nkeyfile ${other.key}`)).toContain("check.cfg:3:9: error: keyfile other.key: it is not the key of server.pem");
    expect(check(`certfile ${folder}/none.pem\nkeyfile ${other.key}`).join()).toContain("check.cfg:2:10: error: certfile none.pem: ENOENT");
    expect(check(`certfile ${server.key}\nkeyfile ${server.key}`)).toContain("check.cfg:2:10: error: certfile server.key: it holds no certificate in PEM");
    expect(check(withKey(authority.issue("soon", { days: 9 }))).join()).toContain(`warning: certfile soon.pem: CN=soon expires on ${day(9)}, in 8 days`);
    expect(check(withKey(authority.issue("past", { days: -3 }))).join()).toContain(`warning: certfile past.pem: CN=past has expired on ${day(-3)}`);
    expect(check(`${withKey(server)}ciphers NONSENSE`).join()).toMatch(/check\.cfg:4:9: error: ciphers NONSENSE: .*/);
    expect(check("require_certificate true")).toEqual(["check.cfg:2:21: error: require_certificate needs certfile and keyfile, or psk_hint: without them the listener would not speak TLS"]);
    expect(check(`${withKey(server)}require_certificate true`)).toContain("check.cfg:4:21: error: require_certificate needs cafile or capath: nobody's certificate would be taken");
    authority.writeCrl();
    expect(check(`${withKey(server)}cafile ${authority.cert}\nrequire_certificate true\ncrlfile ${authority.crl}`)).toContain(
      `check.cfg:6:9: note: crlfile crl.pem: a list of revoked certificates (without a valid one nobody is let in) is valid until ${day(30)}`,
    );
  });
});
