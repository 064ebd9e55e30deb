import type { Access, Admission, Refusal } from "../access/access.ts";
import type { Identity } from "../access/identity.ts";
import type { Timer } from "../clock/clock.ts";
import type { Link } from "../link/link.ts";
import { networkOfPeer } from "../link/network.ts";
import { encodeConnack, encodeVersionRefusal } from "../mqtt/connack.ts";
import { type Connect, decodeConnect, levelOf, UnsupportedVersion } from "../mqtt/connect.ts";
import { NO_PROPERTIES } from "../mqtt/properties.ts";
import { PacketType } from "../mqtt/protocol.ts";
import { ConnackCode, Reason, type ReasonCode } from "../mqtt/reason.ts";
import { isTooDeep, MAX_LEVELS } from "../topic/validity.ts";
import type { ListenerContext, MountPoint } from "./mount-point.ts";
import { isLongerThan, termsOf, type Terms } from "./terms.ts";

/** Why a CONNECT is refused, as each version has it. */
export interface ConnectRefusal {
  readonly code: ConnackCode;
  readonly reason: ReasonCode;
  readonly text: string;
}

const REFUSALS: Readonly<Record<Refusal, ConnectRefusal>> = {
  credentials: { code: ConnackCode.badUserNameOrPassword, reason: Reason.BadUserNameOrPassword, text: "its user name or password is wrong" },
  anonymous: { code: ConnackCode.notAuthorized, reason: Reason.NotAuthorized, text: "it has no user name" },
  busy: { code: ConnackCode.serverUnavailable, reason: Reason.ServerBusy, text: "too many passwords are being checked" },
  identifier: { code: ConnackCode.identifierRejected, reason: Reason.ClientIdentifierNotValid, text: "its client identifier has none of the prefixes that are allowed" },
};

/** From the first bytes of a connection to the decision whether its client may come in. */
export class Handshake {
  /** CONNECT has come and its password is being checked, or was wrong and the answer waits. */
  isAuthenticating = false;
  /** The largest packet that the client takes, once its CONNECT has said so. */
  private maxPacketBytes = Infinity;
  /** For a check or a refusal that waits, and what is given back if it ends before. */
  private waitTimer: Timer | undefined;
  private stopWaiting: () => void = () => undefined;

  constructor(
    /** The connection, as it counts among those that have not said who they are. */
    private readonly stranger: object,
    private readonly link: Link,
    private readonly mount: MountPoint,
    private readonly context: ListenerContext,
    /** The user name that was proved before CONNECT: by a certificate or a key. */
    private readonly provenUser: string | undefined,
    private readonly onAdmitted: (connect: Connect, identity: Identity, terms: Terms) => void,
  ) {}

  /** What a stranger announces is not waited for if it is no CONNECT [MQTT-3.1.0-1]. */
  mayBegin(firstByte: number): boolean {
    if (firstByte >> 4 === PacketType.CONNECT) return true;
    this.context.log.write("firstPacketNotConnect", { address: this.link.remoteAddress, type: firstByte >> 4 });
    this.link.close({ kind: "violation", text: "the first packet was not CONNECT" });
    return false;
  }

  /** @throws ProtocolViolation */
  onPacket(firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number): void {
    const { link, context } = this;
    if (levelOf(bytes, bodyStart, bodyEnd) === 5) link.version = 5; // what is wrong with it is then told as 5 has it
    let connect: Connect;
    try {
      connect = decodeConnect(firstByte, bytes, bodyStart, bodyEnd, this.mount.options.protocolVersions);
    } catch (error) {
      if (!(error instanceof UnsupportedVersion)) throw error;
      context.log.write("unsupportedVersion", { address: link.remoteAddress, level: error.level });
      link.send(encodeVersionRefusal(error.level));
      return link.close({ kind: "local", text: `protocol level ${error.level} is not supported` });
    }
    context.strangers.delete(this.stranger);
    link.version = connect.version;
    this.maxPacketBytes = connect.properties?.maximumPacketBytes ?? Infinity;
    const isAssigned = connect.clientId === "";
    const problem = this.takeUserName(connect) ?? this.problemWith(connect);
    if (problem) return this.refuse(problem);
    if (connect.clientId === "") connect.clientId = this.mount.options.clientIdPrefix + context.newClientId();
    const assigned = isAssigned ? connect.clientId : undefined;
    const { maxPacketSizeBytes } = context.linkLimits;
    this.authenticate(connect, termsOf(connect, assigned, this.mount.options, context.settings, maxPacketSizeBytes), bodyEnd - bodyStart);
  }

  /** Puts the user name in the place of the client identifier where the listener wants that. */
  private takeUserName(connect: Connect): ConnectRefusal | undefined {
    if (!this.mount.options.userNameIsClientId) return undefined;
    const name = this.provenUser ?? connect.username ?? "";
    if (name === "") return REFUSALS.anonymous;
    connect.clientId = name;
    return undefined;
  }

  private problemWith({ version, clientId, cleanStart, keepAliveSeconds, properties, will }: Connect): ConnectRefusal | undefined {
    const { settings } = this.context;
    if (clientId === "" && (version === 3 || !settings.allowEmptyClientId || (version === 4 && !cleanStart))) {
      const text = "an empty client identifier is not taken from it: that needs MQTT 3.1.1 and a clean session, or MQTT 5";
      return { code: ConnackCode.identifierRejected, reason: Reason.ClientIdentifierNotValid, text };
    }
    if (will && isTooDeep(will.topic)) {
      return { code: ConnackCode.notAuthorized, reason: Reason.TopicNameInvalid, text: `its will's topic has more than ${MAX_LEVELS} levels` };
    }
    if (version !== 5) {
      const isTooLong = isLongerThan(keepAliveSeconds, settings.maxKeepAliveSeconds);
      return isTooLong ? { code: ConnackCode.identifierRejected, reason: Reason.UnspecifiedError, text: `its keep alive is longer than max_keepalive` } : undefined;
    }
    const refusal = (reason: ReasonCode, text: string): ConnectRefusal => ({ code: ConnackCode.notAuthorized, reason, text });
    if (properties?.authenticationMethod !== undefined) return refusal(Reason.BadAuthenticationMethod, "its authentication method is not known here");
    if (will && will.qos > this.mount.options.maxQoS) return refusal(Reason.QoSNotSupported, "the QoS of its will is higher than max_qos");
    if (will?.retain && !settings.retainAvailable) return refusal(Reason.RetainNotSupported, "its will is to be retained, and nothing is");
    return undefined;
  }

  /** `bytes`: what the packet takes while it waits. */
  private authenticate(connect: Connect, terms: Terms, bytes: number): void {
    const { link, context } = this;
    const { access } = context.broker;
    if (this.provenUser !== undefined) return this.judge(connect, terms, access.admitProven(connect.clientId, this.provenUser));
    const { username } = connect;
    const holdMs = username === undefined || !access.asksForPasswords ? 0 : context.logins.holdMs(networkOfPeer(link.remoteAddress), username);
    if (holdMs === 0) this.check(connect, terms, bytes);
    else this.checkLater(holdMs, connect, terms, bytes);
  }

  private checkLater(holdMs: number, connect: Connect, terms: Terms, bytes: number): void {
    const { logins } = this.context;
    const address = networkOfPeer(this.link.remoteAddress);
    const refuse = (): void => this.judge(connect, terms, "busy");
    if (!logins.hold(address, bytes, refuse)) return refuse();
    this.stopWaiting = () => logins.release(address, refuse);
    this.wait(holdMs, () => {
      this.context.strangers.delete(this.stranger);
      this.isAuthenticating = false;
      this.check(connect, terms, bytes);
    });
  }

  private check(connect: Connect, terms: Terms, bytes: number): void {
    const { link, context } = this;
    const { access } = context.broker;
    const { logins } = context;
    const address = networkOfPeer(link.remoteAddress);
    const asker = { mayWait: () => logins.beginCheck(address, bytes), isWanted: () => !link.isClosed && !logins.isCrowding(address) };
    const admission = access.admit(connect.clientId, connect.username, connect.password, asker, this.mount.options.allowAnonymous);
    if (!(admission instanceof Promise)) return this.judge(connect, terms, admission);
    this.isAuthenticating = true;
    link.stopReading();
    admission
      .finally(() => logins.endCheck(address, bytes))
      .then(
        (verdict) => this.authenticated(connect, terms, verdict, access, bytes),
        (error: unknown) => link.close({ kind: "local", text: `the password can't be checked: ${String(error)}` }),
      );
  }

  private authenticated(connect: Connect, terms: Terms, admission: Admission, asked: Access, bytes: number): void {
    this.isAuthenticating = false;
    if (this.link.isClosed) return;
    if (this.context.broker.access !== asked) return this.authenticate(connect, terms, bytes); // the rules have changed meanwhile
    this.judge(connect, terms, admission);
  }

  private judge(connect: Connect, terms: Terms, admission: Admission): void {
    const { log, logins } = this.context;
    const address = networkOfPeer(this.link.remoteAddress);
    const { username = "" } = connect;
    if (typeof admission !== "string") {
      if (admission.user !== undefined && this.provenUser === undefined) logins.succeeded(address, admission.user);
      return this.onAdmitted(connect, admission, terms);
    }
    const refusal = REFUSALS[admission];
    const name = `client ${connect.clientId}${connect.username === undefined ? "" : ` (user ${connect.username})`}`;
    log.write("connectRefused", { client: name, address: this.link.remoteAddress, reason: refusal.text });
    const delayMs = admission === "credentials" ? logins.failed(address, username) : 0;
    if (delayMs === 0) this.refuse(refusal);
    else this.wait(delayMs, () => this.refuse(refusal));
  }

  private wait(delayMs: number, next: () => void): void {
    const { clock, strangers } = this.context;
    this.isAuthenticating = true;
    this.link.stopReading();
    strangers.add(this.stranger, () => this.giveWay());
    this.waitTimer = clock.after(delayMs, () => {
      this.endWaiting();
      next();
    });
  }

  private endWaiting(): void {
    this.waitTimer?.cancel();
    this.stopWaiting();
    this.stopWaiting = () => undefined;
  }

  /** To another that may say who it is. */
  giveWay(): void {
    this.link.drop({ kind: "local", text: "there are too many connections without CONNECT" });
  }

  /** The connection has ended. */
  over(): void {
    this.context.strangers.delete(this.stranger);
    this.endWaiting();
  }

  refuse({ code, reason, text }: ConnectRefusal): void {
    const { version } = this.link;
    // The text is left out if the client has no room for it [MQTT-3.2.2-19].
    const answers = [{ reasonString: text }, NO_PROPERTIES].map((properties) => encodeConnack(version, false, version === 5 ? reason : code, properties));
    const answer = answers.find(({ length }) => length <= this.maxPacketBytes);
    if (answer) this.link.send(answer);
    this.link.close({ kind: "local", text });
  }
}
