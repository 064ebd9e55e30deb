import { identityText } from "../access/identity.ts";
import type { Entry } from "../broker/entry.ts";
import { MAX_SESSION_FILTERS } from "../broker/subscriptions.ts";
import type { ProtocolVersion, QoS } from "../mqtt/protocol.ts";
import { Reason, type ReasonCode } from "../mqtt/reason.ts";
import { FIRST_ERROR } from "../mqtt/reason-codes.ts";
import { SUBACK_FAILURE, type SubscriptionRequest } from "../mqtt/subscribe.ts";
import { ProtocolViolation } from "../mqtt/violation.ts";
import type { GroupNumber } from "../store/store.ts";
import { below, isShared, shareOf, topicPart } from "../topic/share.ts";
import { filterProblem } from "../topic/validity.ts";
import type { ListenerContext, MountPoint } from "./mount-point.ts";

/** Lines about refused filters that one connection may cause. */
const MAX_LOGGED_REFUSALS = 16;

/** What a SUBSCRIBE came to. */
export interface Subscribed {
  /** SUBACK's codes, in the order of the requests. */
  readonly codes: number[];
  /** The group that SUBACK waits for. */
  readonly after: GroupNumber;
  /** Filters, mount point included, whose retained messages the client is owed. */
  readonly owed: string[];
  /** Why the first of those that were refused was. */
  readonly problem: string | undefined;
}

/** Takes the SUBSCRIBE packets of one connection. */
export class Subscriber {
  private loggedRefusals = 0;
  private hasLoggedLimit = false;

  constructor(
    private readonly mount: MountPoint,
    private readonly context: ListenerContext,
  ) {}

  /**
   * Subscribes the session to what may be granted. A filter that stands more than once in the packet is taken once, as it stands there last.
   * `identifier`: the packet's subscription identifier, 0 if it has none.
   * @throws ProtocolViolation for a filter that can't be granted under MQTT 3.1, whose SUBACK can't say so.
   */
  subscribe(entry: Entry, version: ProtocolVersion, requests: readonly SubscriptionRequest[], identifier = 0): Subscribed {
    const wanted = new Map<string, SubscriptionRequest>();
    for (const request of requests) wanted.set(request.filter, request);
    const codes = new Map<string, number>();
    const owed: string[] = [];
    let after: GroupNumber = 0;
    let examined = 0;
    let problem: string | undefined;
    for (const request of wanted.values()) {
      const { filter, retainHandling = 0 } = request;
      examined += 1;
      const full = below(this.mount.prefix, filter);
      const isNew = !entry.filters.has(full);
      const granted = examined > MAX_SESSION_FILTERS ? this.refuseByLimit(entry, filter, PACKET_LIMIT) : this.subscribeTo(entry, full, request, identifier);
      if (granted instanceof Refused) {
        codes.set(filter, codeOf(version, granted, request.qos));
        problem ??= granted.text;
        continue;
      }
      codes.set(filter, granted.qos);
      if (granted.after > after) after = granted.after;
      // A bridge has what it has been sent: it gets the retained messages of new subscriptions only. A shared subscription gets none.
      const wantsRetained = retainHandling === 0 ? isNew || !entry.peerIsBridge : retainHandling === 1 && isNew;
      if (wantsRetained && !isShared(filter)) owed.push(full);
    }
    return { codes: requests.map((request) => codeFor(request, codes.get(request.filter) ?? SUBACK_FAILURE, this.mount.options.maxQoS)), after, owed, problem };
  }

  /** Ends subscriptions; `codes` are UNSUBACK's of MQTT 5. */
  unsubscribe(entry: Entry, filters: readonly string[]): { codes: number[]; after: GroupNumber } {
    let after: GroupNumber = 0;
    const codes = filters.map((filter) => {
      const group = this.context.broker.sessions.unsubscribe(entry, below(this.mount.prefix, filter));
      if (group !== undefined) after = Math.max(after, group);
      else if (problemOf(filter)) return Reason.TopicFilterInvalid;
      return group === undefined ? Reason.NoSubscriptionExisted : Reason.Success;
    });
    return { codes, after };
  }

  private subscribeTo(entry: Entry, full: string, request: SubscriptionRequest, identifier: number): { qos: QoS; after: GroupNumber } | Refused {
    const { broker, log } = this.context;
    const { maxQoS } = this.mount.options;
    const { filter, noLocal = false, retainAsPublished = false, retainHandling = 0 } = request;
    const problem = problemOf(filter);
    if (problem) {
      if (this.mayLogRefusal()) log.write("invalidFilter", { client: entry.session.clientId, filter: shortened(filter), problem });
      return new Refused(Reason.TopicFilterInvalid, `with an invalid topic filter: ${problem}`);
    }
    if (entry.rights && !entry.rights.maySubscribe(topicPart(full))) {
      if (this.mayLogRefusal()) log.write("subscribeDenied", { client: identityText(entry.identity), filter: shortened(full) });
      return new Refused(Reason.NotAuthorized, "with a filter that its user may not read");
    }
    const qos = request.qos < maxQoS ? request.qos : maxQoS;
    const after = broker.subscribe(entry, full, { qos, noLocal, retainAsPublished, retainHandling, identifier });
    return typeof after === "number" ? { qos, after } : this.refuseByLimit(entry, filter, after);
  }

  private refuseByLimit(entry: Entry, filter: string, limit: string): Refused {
    if (!this.hasLoggedLimit) {
      this.hasLoggedLimit = true;
      this.context.log.write("subscriptionLimit", { client: identityText(entry.identity), filter: shortened(filter), limit });
    }
    return new Refused(Reason.QuotaExceeded, `beyond a limit: ${limit}`);
  }

  private mayLogRefusal(): boolean {
    this.loggedRefusals += 1;
    return this.loggedRefusals <= MAX_LOGGED_REFUSALS;
  }
}

/** As if each request had come alone [MQTT-3.8.4-5]: what its filter came to, or the QoS that it asks for, though a later one asks for another. */
function codeFor({ qos }: SubscriptionRequest, code: number, maxQoS: QoS): number {
  return code >= FIRST_ERROR ? code : Math.min(qos, maxQoS);
}

/** Why a filter is not granted. */
class Refused {
  constructor(
    readonly reason: ReasonCode,
    readonly text: string,
  ) {}
}

/**
 * "Granted" for what is not stored would be a lie, and MQTT 3.1 has no other word; said it is there of a filter that its user may not read.
 * @throws ProtocolViolation
 */
function codeOf(version: ProtocolVersion, { reason, text }: Refused, qos: QoS): number {
  if (version === 5) return reason;
  if (version === 4) return SUBACK_FAILURE;
  if (reason !== Reason.NotAuthorized) throw new ProtocolViolation(reason, `SUBSCRIBE ${text}`);
  return qos;
}

function problemOf(filter: string): string | undefined {
  if (!isShared(filter)) return filterProblem(filter);
  const share = shareOf(filter);
  return share ? filterProblem(share.filter) : "a shared subscription is spelt $share/NAME/FILTER, its name without wildcards";
}

const PACKET_LIMIT = `a packet may have ${MAX_SESSION_FILTERS} topic filters`;
const MAX_LOGGED_FILTER_CHARACTERS = 200;

function shortened(filter: string): string {
  return filter.length <= MAX_LOGGED_FILTER_CHARACTERS ? filter : `${filter.slice(0, MAX_LOGGED_FILTER_CHARACTERS)}...`;
}
