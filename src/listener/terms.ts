import type { Connect } from "../mqtt/connect.ts";
import { NO_PROPERTIES, type Properties } from "../mqtt/properties.ts";
import type { ProtocolVersion, QoS } from "../mqtt/protocol.ts";
import type { ListenerOptions } from "../config/config.ts";
import type { ListenerSettings } from "./mount-point.ts";

/** PUBLISH packets of QoS 1 and 2 that a client may have sent without an answer: our Receive Maximum. */
export const RECEIVE_MAXIMUM = 1_024;
/** A session expiry interval of this many seconds stands for ever [MQTT 5.0 section 3.1.2.11.2]. */
const FOR_EVER_SECONDS = 0xffff_ffff;

/** What holds for one connection: what its CONNECT asked for, cut to what is given. */
export interface Terms {
  readonly version: ProtocolVersion;
  /** How long the session outlives the connection. */
  readonly sessionExpiryMs: number;
  readonly keepAliveSeconds: number;
  /** QoS 1 and 2 messages that may be on their way to the client. */
  readonly receiveMaximum: number;
  /** Largest packet that the client takes. */
  readonly maxPacketBytes: number;
  /** Highest topic alias that we use, and that we take. */
  readonly topicAliasMaximum: number;
  readonly topicAliasesTaken: number;
  readonly maxQoS: QoS;
  readonly retainAvailable: boolean;
  /** Whether answers may say why in words. */
  readonly explains: boolean;
  /** What CONNACK says of it. */
  readonly told: Properties;
}

/** `assignedClientId`: the client identifier if it is ours; `maxPacketBytes`: the largest packet that we take. */
export function termsOf(
  connect: Connect, assignedClientId: string | undefined, { maxQoS, maxTopicAlias, maxTopicAliasSent }: ListenerOptions, settings: ListenerSettings, maxPacketBytes: number,
): Terms {
  const { version, properties = {}, cleanStart } = connect;
  const { retainAvailable, maxKeepAliveSeconds } = settings;
  const maxExpiryMs = Math.min(settings.maxSessionExpiryMs, settings.sessionExpiryMs);
  const askedExpiryMs = expiryMs(properties.sessionExpirySeconds ?? 0);
  const isTooLong = isLongerThan(connect.keepAliveSeconds, maxKeepAliveSeconds);
  return {
    version,
    sessionExpiryMs: version === 5 ? Math.min(askedExpiryMs, maxExpiryMs) : cleanStart ? 0 : Infinity,
    keepAliveSeconds: isTooLong ? maxKeepAliveSeconds : connect.keepAliveSeconds,
    receiveMaximum: properties.receiveMaximum ?? Infinity,
    maxPacketBytes: properties.maximumPacketBytes ?? Infinity,
    topicAliasMaximum: Math.min(properties.topicAliasMaximum ?? 0, maxTopicAliasSent),
    topicAliasesTaken: version === 5 ? maxTopicAlias : 0,
    maxQoS,
    retainAvailable,
    explains: properties.requestProblemInformation !== 0,
    told: version < 5 ? NO_PROPERTIES : {
      ...(askedExpiryMs > maxExpiryMs ? { sessionExpirySeconds: Math.floor(maxExpiryMs / 1000) } : {}),
      ...(assignedClientId === undefined ? {} : { assignedClientId }),
      ...(isTooLong ? { serverKeepAliveSeconds: maxKeepAliveSeconds } : {}),
      receiveMaximum: RECEIVE_MAXIMUM,
      ...(maxTopicAlias > 0 ? { topicAliasMaximum: maxTopicAlias } : {}),
      ...(maxQoS < 2 ? { maximumQoS: maxQoS as 0 | 1 } : {}),
      ...(retainAvailable ? {} : { retainAvailable: 0 as const }),
      ...(maxPacketBytes < Infinity ? { maximumPacketBytes: maxPacketBytes } : {}),
    },
  };
}

/** The interval as the protocol counts it. */
export function expiryMs(seconds: number): number {
  return seconds === FOR_EVER_SECONDS ? Infinity : seconds * 1000;
}

/** Whether a client asks for a longer keep alive, or for none. */
export function isLongerThan(keepAliveSeconds: number, maxSeconds: number): boolean {
  return keepAliveSeconds > maxSeconds || (keepAliveSeconds === 0 && maxSeconds < Infinity);
}
