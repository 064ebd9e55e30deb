import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DaemonProcess, freePort } from "./daemon.ts";
import { mosquittoAvailable, mosquittoMissing } from "./mosquitto.ts";
import { LineProcess } from "./process.ts";

describe.skipIf(!mosquittoAvailable())(mosquittoAvailable() ? "mosquitto's clients with -V mqttv5" : mosquittoMissing, () => {
  let daemon: DaemonProcess;
  let port: number;
  const started: LineProcess[] = [];

  beforeAll(async () => {
    port = await freePort();
    daemon = await DaemonProcess.start(`listener ${port} 127.0.0.1`);
  });

  afterAll(async () => {
    for (const process of started) await process.kill("SIGKILL");
    await daemon?.cleanup();
  });

  function start(name: string, args: readonly string[]): LineProcess {
    const process = new LineProcess(name, "stdbuf", ["-oL", name, "-h", "127.0.0.1", "-p", String(port), "-V", "mqttv5", ...args], daemon.folder);
    started.push(process);
    process.spawn();
    return process;
  }

  async function subscriber(args: readonly string[]): Promise<LineProcess> {
    const process = start("mosquitto_sub", ["-d", ...args]);
    await process.waitForLine(/^Subscribed /);
    return process;
  }

  it("exchange a message with all its properties", async () => {
    const sub = await subscriber(["-t", "m/#", "-q", "1", "-D", "subscribe", "subscription-identifier", "9", "-F", "got %t %p %C %D %E %F %P %R %S"]);
    const pub = start("mosquitto_pub", [
      "-t", "m/x", "-m", "payload", "-q", "1", "-D", "publish", "content-type", "text", "-D", "publish", "correlation-data", "data",
      "-D", "publish", "message-expiry-interval", "60", "-D", "publish", "payload-format-indicator", "1", "-D", "publish", "response-topic", "r/1",
      "-D", "publish", "user-property", "name", "value",
    ]);
    expect((await pub.exited()).code).toBe(0);
    await sub.waitForLine(/^got m\/x payload text data 60 1 name:value r\/1 9$/);
  });

  it("are told that nobody has subscribed, and that no authentication method is known", async () => {
    const pub = start("mosquitto_pub", ["-t", "nobody", "-m", "x", "-q", "1", "-d"]);
    await pub.waitForLine(/PUBACK \(Mid: 1, RC:16\)/);
    const refused = start("mosquitto_pub", ["-t", "a", "-m", "x", "-D", "connect", "authentication-method", "none"]);
    await refused.waitForLine(/[Bb]ad authentication method/);
    expect((await refused.exited()).code).not.toBe(0);
  });

  it("make a request and get its answer (mosquitto_rr)", async () => {
    const answerer = await subscriber(["-t", "ask", "-F", "got %R"]);
    const request = start("mosquitto_rr", ["-t", "ask", "-e", "answer/1", "-m", "question", "-W", "10"]);
    await answerer.waitForLine(/^got answer\/1$/);
    start("mosquitto_pub", ["-t", "answer/1", "-m", "forty-two", "-q", "1"]);
    await request.waitForLine(/^forty-two$/);
  });
});
