import { afterAll, beforeAll, it } from "vitest";
import { DaemonProcess, freePorts } from "../scenario/daemon.ts";
import { type Conversation, hold, type Ports } from "./conversation.ts";

/** Holds each conversation with one daemon, one after the other. */
export function judge(conversations: readonly Conversation[]): void {
  let daemon: DaemonProcess;
  let ports: Ports;

  beforeAll(async () => {
    const [plain = 0, limited = 0] = await freePorts(2);
    ports = { plain, limited };
    daemon = await DaemonProcess.start(`listener ${plain} 127.0.0.1\nlistener ${limited} 127.0.0.1\nmax_qos 0\nmax_topic_alias 0`);
  });

  afterAll(() => daemon?.cleanup());

  it.each(conversations)("[%s] %s", async (_statements, _shows, ...steps) => {
    await hold(ports, steps);
  });
}
