import type { ConnectionConfig } from "../config/config.ts";
import { decodeConnack } from "../mqtt/connack.ts";
import { encodeConnect } from "../mqtt/connect.ts";
import type { Properties, UserProperty } from "../mqtt/properties.ts";
import type { ProtocolVersion, QoS, Will } from "../mqtt/protocol.ts";
import { ConnackCode, Reason } from "../mqtt/reason.ts";
import { reasonText } from "../mqtt/reason-codes.ts";
import { malformed } from "../mqtt/violation.ts";

/** How a CONNECT is spelt; the next is tried when a server does not take one. */
export interface Dialect {
  readonly version: ProtocolVersion;
  /** The private bit, before MQTT 5: the remote keeps retain flags and does not echo. */
  readonly bridge: boolean;
}

export interface Greeting {
  readonly dialect: Dialect;
  readonly clientId: string;
  readonly cleanStart: boolean;
  readonly keepAliveSeconds: number;
  readonly will: Will | undefined;
  /** Largest packet that we take. */
  readonly maxPacketBytes: number;
  /** Tells the remote who we are; undefined: it is not to know that we are a bridge. */
  readonly mark: UserProperty | undefined;
}

/** CONNECT as a bridge sends it. */
export function encodeGreeting(greeting: Greeting, config: ConnectionConfig): Buffer {
  const { dialect, clientId, cleanStart, keepAliveSeconds, will } = greeting;
  const { username, password } = config;
  return encodeConnect({
    ...dialect,
    clientId,
    cleanStart,
    keepAliveSeconds,
    ...(will === undefined ? {} : { will }),
    ...(username === undefined ? {} : { username }),
    ...(password === undefined || (username === undefined && dialect.version !== 5) ? {} : { password: Buffer.from(password) }),
    ...(dialect.version === 5 ? { properties: propertiesOf(greeting, config) } : {}),
  });
}

function propertiesOf({ cleanStart, maxPacketBytes, mark }: Greeting, { cleanSession, sessionExpirySeconds, receiveMaximum, maxTopicAlias }: ConnectionConfig): Properties {
  return {
    // A clean start of a connection that keeps its session only ends the one of the past.
    ...(cleanSession || cleanStart ? {} : { sessionExpirySeconds }),
    receiveMaximum,
    topicAliasMaximum: maxTopicAlias,
    maximumPacketBytes: maxPacketBytes,
    ...(mark === undefined ? {} : { userProperties: [mark] }),
  };
}

/** What a remote takes, as its CONNACK says [MQTT 5.0 section 3.2.2.3]. */
export interface RemoteLimits {
  readonly receiveMaximum: number;
  readonly maximumPacketBytes: number;
  readonly topicAliasMaximum: number;
  readonly maximumQoS: QoS;
  readonly retainAvailable: boolean;
}

/** Before MQTT 5 a remote can't say. */
export const NO_LIMITS: RemoteLimits = { receiveMaximum: Infinity, maximumPacketBytes: Infinity, topicAliasMaximum: 0, maximumQoS: 2, retainAvailable: true };

export interface Answer {
  readonly sessionPresent: boolean;
  readonly limits: RemoteLimits;
  readonly properties: Properties;
  /** Undefined: the remote accepts us. `version`: it does not take this way to spell CONNECT. */
  readonly refusal: { readonly kind: "version" | "other"; readonly code: number; readonly text: string } | undefined;
}

/** CONNACK. A server that knows no MQTT 5 says so in the words of 3.1.1. @throws ProtocolViolation */
export function decodeAnswer(spoken: ProtocolVersion, firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number): Answer {
  const version = spoken === 5 && bodyEnd - bodyStart === 2 ? 4 : spoken;
  const { sessionPresent, code, properties } = decodeConnack(version, firstByte, bytes, bodyStart, bodyEnd);
  if (version !== spoken && code !== ConnackCode.unacceptableProtocolVersion) throw malformed("CONNACK of MQTT 3.1.1 in answer to MQTT 5");
  const refusesVersion = version === 5 ? code === Reason.UnsupportedProtocolVersion : code === ConnackCode.unacceptableProtocolVersion;
  const text = version === 5 ? explain(code, properties) : String(code);
  return {
    sessionPresent,
    limits: version === 5 ? limitsOf(properties) : NO_LIMITS,
    properties,
    refusal: code === 0 ? undefined : { kind: refusesVersion ? "version" : "other", code, text },
  };
}

/** A reason code with what the remote adds to it: `Server moved (0x9d): maintenance; use other:1883`. */
export function explain(code: number, { reasonString, serverReference }: Properties): string {
  const said = (before: string, text: string | undefined): string => (text === undefined ? "" : before + text.slice(0, MAX_LOGGED_CHARACTERS));
  return reasonText(code) + said(": ", reasonString) + said("; use ", serverReference);
}

const MAX_LOGGED_CHARACTERS = 200;

function limitsOf({ receiveMaximum = 65_535, maximumPacketBytes = Infinity, topicAliasMaximum = 0, maximumQoS, retainAvailable }: Properties): RemoteLimits {
  return { receiveMaximum, maximumPacketBytes, topicAliasMaximum, maximumQoS: maximumQoS ?? 2, retainAvailable: retainAvailable !== 0 };
}
