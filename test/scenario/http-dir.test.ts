import { spawnSync } from "node:child_process";
import { mkdirSync, renameSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect311 } from "./clients.ts";
import { DaemonProcess, freePort } from "./daemon.ts";
import { makeFolder, removeFolder } from "./process.ts";
import { RawConnection, upgradeRequest, type HttpAnswer } from "./web-clients.ts";

const LARGE = Buffer.alloc(3_000_000, "0123456789");

let around: string;
let folder: string;
let daemon: DaemonProcess;
let port: number;

beforeAll(async () => {
  around = makeFolder("http");
  folder = path.join(around, "www");
  mkdirSync(path.join(folder, "sub"), { recursive: true });
  mkdirSync(path.join(folder, ".git"));
  mkdirSync(`${folder}-twin`);
  const files: Readonly<Record<string, string | Buffer>> = {
    "www/index.html": "<h1>the page</h1>", "www/sub/app.js": "let x;", "www/style.css": "p {}", "www/picture.svg": "<svg/>", "www/a b&c.txt": "blanks",
    "www/data.json": "{}", "www/no-extension": "bytes", "www/page.wasm": "x", "www/.hidden": "hidden", "www/.git/config": "hidden", "www/large.bin": LARGE,
    "secret.txt": "secret", "www-twin/secret.txt": "secret",
  };
  for (const [name, content] of Object.entries(files)) writeFileSync(path.join(around, name), content);
  symlinkSync(path.join(around, "secret.txt"), path.join(folder, "way-out.txt"));
  symlinkSync(around, path.join(folder, "folder-out"));
  symlinkSync(path.join(folder, ".hidden"), path.join(folder, "shown.txt"));
  symlinkSync(path.join(folder, "style.css"), path.join(folder, "sub", "same.css"));
  mkdirSync(path.join(folder, "trap"));
  symlinkSync(path.join(around, "secret.txt"), path.join(folder, "trap", "index.html"));
  spawnSync("mkfifo", [path.join(folder, "pipe")]);
  port = await freePort();
  daemon = await DaemonProcess.start(`listener ${port} 127.0.0.1\nprotocol websockets\nhttp_dir ${folder}`);
});

afterAll(async () => {
  await daemon?.cleanup();
  removeFolder(around);
});

async function ask(request: string, options: { hasBody?: boolean } = {}): Promise<HttpAnswer> {
  const connection = await RawConnection.dial(port);
  try {
    connection.write(request);
    return await connection.answer(5_000, options);
  } finally {
    connection.destroy();
  }
}

const get = (url: string, headers: readonly string[] = []): Promise<HttpAnswer> => ask([`GET ${url} HTTP/1.1`, "Host: x", ...headers, "", ""].join("\r\n"));

it("gives curl the page, and its head alone when that is asked for", () => {
  const page = spawnSync("curl", ["-s", `http://127.0.0.1:${port}/`], { encoding: "utf8" });
  expect(page.stdout).toBe("<h1>the page</h1>");
  const head = spawnSync("curl", ["-sI", `http://127.0.0.1:${port}/`], { encoding: "utf8" });
  expect(head.stdout).toMatch(/^HTTP\/1.1 200 OK\r\n/);
  expect(head.stdout).toMatch(/content-length: 17\r\n/i);
});

describe("types", () => {
  it.each([
    ["/", "text/html; charset=utf-8"],
    ["/sub/app.js", "text/javascript; charset=utf-8"],
    ["/style.css", "text/css; charset=utf-8"],
    ["/picture.svg", "image/svg+xml"],
    ["/data.json", "application/json; charset=utf-8"],
    ["/page.wasm", "application/wasm"],
    ["/a%20b%26c.txt", "text/plain; charset=utf-8"],
    ["/no-extension", "application/octet-stream"],
    ["/sub/same.css?v=3", "text/css; charset=utf-8"],
  ])("%s is %s", async (url, type) => {
    const { status, headers } = await get(url);
    expect([status, headers.get("content-type"), headers.get("x-content-type-options")]).toEqual([200, type, "nosniff"]);
  });
});

describe("nothing that is not in the folder", () => {
  it.each([
    ["/../secret.txt", 404],
    ["/%2e%2e/secret.txt", 404],
    ["/..%2fsecret.txt", 404],
    ["/sub/../../secret.txt", 404],
    ["/sub/%2e%2e/%2e%2e/secret.txt", 404],
    ["/%252e%252e/secret.txt", 404],
    ["/..\\secret.txt", 400],
    ["/..%5csecret.txt", 400],
    ["/../www-twin/secret.txt", 404],
    ["//etc/passwd", 404],
    ["/%2fetc/passwd", 404],
    ["/way-out.txt", 404],
    ["/folder-out/secret.txt", 404],
    ["/trap/", 404],
    ["/.hidden", 404],
    ["/shown.txt", 404],
    ["/%2ehidden", 404],
    ["/.git/config", 404],
    ["/pipe", 404],
    ["/nothing", 404],
    ["/style.css/", 404],
    ["/index.html%00.txt", 400],
    ["/%zz", 400],
    ["/%c3%28", 400],
    [`/${"a/".repeat(2_000)}`, 404],
    [`/${"x".repeat(5_000)}`, 404],
  ])("%.50s is answered with %i", async (url, status) => {
    const answer = await get(url);
    expect(answer.status).toBe(status);
    expect(answer.body).toBe("");
  });

  it("an absolute address is no path", async () => {
    expect((await get(`http://127.0.0.1:${port}/index.html`)).status).toBe(400);
    expect((await get("*")).status).toBe(400);
  });

  it("a folder is asked for with a slash, here and nowhere else", async () => {
    expect((await get("/sub")).headers.get("location")).toBe("/sub/");
    expect((await get("//sub")).headers.get("location")).toBe("/sub/");
    expect((await get("/sub/")).status).toBe(404);
  });
});

describe("caching and ranges", () => {
  it("answers 304 to who has the file as it is, and 200 when it has changed", async () => {
    const file = path.join(folder, "cached.txt");
    writeFileSync(file, "one");
    const first = await get("/cached.txt");
    const [etag = "", modified = ""] = [first.headers.get("etag"), first.headers.get("last-modified")];
    expect(first.headers.get("cache-control")).toBe("public, max-age=0");
    expect((await get("/cached.txt", [`If-None-Match: ${etag}`])).status).toBe(304);
    expect((await get("/cached.txt", [`If-Modified-Since: ${modified}`])).status).toBe(304);
    writeFileSync(`${file}.new`, "two!");
    utimesSync(`${file}.new`, 2_000_000_000, 2_000_000_000);
    renameSync(`${file}.new`, file);
    const second = await get("/cached.txt", [`If-None-Match: ${etag}`, `If-Modified-Since: ${modified}`]);
    expect([second.status, second.body]).toEqual([200, "two!"]);
  });

  it("gives the range that is asked for", async () => {
    const { status, headers, body } = await get("/large.bin", ["Range: bytes=10-14"]);
    expect([status, headers.get("content-range"), body]).toEqual([206, `bytes 10-14/${LARGE.length}`, "01234"]);
    expect((await get("/large.bin", ["Range: bytes=9999999-"])).status).toBe(416);
    const many = Array.from({ length: 500 }, (_, i) => `${i * 10}-${i * 10 + 1}`).join(",");
    expect((await get("/large.bin", [`Range: bytes=${many}`])).headers.get("content-length")).toBe(String(LARGE.length)); // not 500 parts
  });
});

describe("GET and HEAD only", () => {
  it.each(["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])("%s is answered with 405", async (method) => {
    const { status, headers } = await ask(`${method} / HTTP/1.1\r\nHost: x\r\n\r\n`);
    expect([status, headers.get("allow")]).toEqual([405, "GET, HEAD"]);
  });

  it.each([
    ["a body", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", 413],
    ["a chunked body", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 413],
    ["two lengths", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n", 400],
    ["no host", "GET / HTTP/1.1\r\n\r\n", 400],
    ["no HTTP", "HELO x\r\n\r\n", 400],
  ])("a request with %s is refused", async (_name, request, status) => {
    expect((await ask(request)).status).toBe(status);
  });
});

it("serves one request after the other on a connection, and never two at a time", async () => {
  const connection = await RawConnection.dial(port);
  const request = "GET /style.css HTTP/1.1\r\nHost: x\r\n\r\n";
  for (let i = 0; i < 3; i++) {
    connection.write(request);
    expect((await connection.answer()).body).toBe("p {}");
  }
  connection.write(request.repeat(50));
  await connection.closed();
  connection.destroy();
});

it("opens no WebSocket while a file is being sent: its frames would lie among the file's bytes", async () => {
  const connection = await RawConnection.dial(port);
  connection.write(`GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n${upgradeRequest()}`);
  await connection.closed();
  expect(connection.received.toString("latin1")).not.toContain("101 Switching Protocols");
  connection.destroy();
});

it("thirty-three slow readers do not keep others from the page, nor MQTT from its service", async () => {
  const slow: RawConnection[] = [];
  try {
    for (let i = 0; i < 33; i++) {
      const connection = await RawConnection.dial(port);
      connection.socket.pause();
      connection.write("GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n");
      slow.push(connection);
    }
    expect((await get("/")).body).toBe("<h1>the page</h1>");
    const client = await connect311(port, { protocol: "ws" });
    await client.publish("while/they/read", "x", { qos: 1 });
    await client.end();
  } finally {
    for (const connection of slow) connection.destroy();
  }
});

it("takes up another folder with a reload, while clients stay; a folder that is missing changes nothing", async () => {
  const client = await connect311(port, { protocol: "ws" });
  const other = path.join(around, "other");
  mkdirSync(other);
  writeFileSync(path.join(other, "index.html"), "the other page");
  const config = (dir: string): void => writeFileSync(daemon.configFile, `persistence_location ${daemon.storeFolder}/\nlistener ${port} 127.0.0.1\nprotocol websockets\nhttp_dir ${dir}\n`);
  const reload = async (line: RegExp): Promise<void> => {
    const from = daemon.lines.length;
    process.kill(daemon.pid, "SIGHUP");
    await daemon.waitForLine(line, { from });
  };
  config(other);
  await reload(/CWNAN0322I/);
  expect((await get("/")).body).toBe("the other page");
  config(path.join(around, "missing"));
  await reload(/CWNAN0323E.*missing/);
  expect((await get("/")).body).toBe("the other page");
  expect(client.client.connected).toBe(true);
  await client.end();
  config(folder);
  await reload(/CWNAN0322I/);
  expect((await get("/")).body).toBe("<h1>the page</h1>");
});

it("a folder that is missing stops the start, with its name", async () => {
  const missing = new DaemonProcess(`listener ${port} 127.0.0.1\nprotocol websockets\nhttp_dir ${path.join(around, "missing")}`);
  try {
    missing.spawn();
    expect((await missing.exited()).code).toBe(1);
    expect(missing.lines.join("\n")).toMatch(/amqtdd\.cfg:4:10: error: http_dir .*missing/);
  } finally {
    await missing.cleanup();
  }
});
