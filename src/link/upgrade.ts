import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";

/** Names under which MQTT is spoken over a WebSocket [MQTT-6.0.0-3]; the second is what clients of MQTT 3.1 offer. */
const SUBPROTOCOLS = ["mqtt", "mqttv3.1"];
const KEY = /^[+/0-9A-Za-z]{22}==$/;
/** RFC 6455, section 1.3. */
const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const VERSION = "13";

/** Why a request opens no WebSocket. */
export interface UpgradeRefusal {
  readonly status: number;
  readonly reason: string;
  /** Lines of the answer's head, each with its end. */
  readonly headers?: string;
}

/** Judges the request that opens a WebSocket (RFC 6455, section 4.2): the head of the answer that makes it one, or why it is none. No extension is agreed on. */
export function answerUpgrade({ method, httpVersion, headers }: IncomingMessage): { readonly head: string } | UpgradeRefusal {
  const key = headers["sec-websocket-key"];
  if (method !== "GET" || httpVersion === "1.0" || headers.upgrade?.toLowerCase() !== "websocket") return { status: 400, reason: "not an upgrade to WebSocket" };
  if (headers["sec-websocket-version"] !== VERSION) return { status: 426, reason: "another version of WebSocket", headers: `Sec-WebSocket-Version: ${VERSION}\r\n` };
  if (key === undefined || !KEY.test(key)) return { status: 400, reason: "no key, or a damaged one" };
  const offered = (headers["sec-websocket-protocol"] ?? "").split(",").map((name) => name.trim());
  const subprotocol = offered.find((name) => SUBPROTOCOLS.includes(name));
  if (subprotocol === undefined || offered.includes("")) return { status: 400, reason: "the subprotocol is not mqtt" };
  const accept = createHash("sha1").update(key + GUID).digest("base64");
  const lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", `Sec-WebSocket-Accept: ${accept}`, `Sec-WebSocket-Protocol: ${subprotocol}`];
  return { head: `${lines.join("\r\n")}\r\n\r\n` };
}
