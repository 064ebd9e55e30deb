import { identityText } from "../access/identity.ts";
import type { Entry } from "../broker/sessions.ts";
import { MAX_SESSION_FILTERS } from "../broker/subscriptions.ts";
import type { ProtocolVersion, QoS } from "../mqtt/protocol.ts";
import { Reason, type ReasonCode } from "../mqtt/reason.ts";
import { SUBACK_FAILURE, type SubscriptionRequest } from "../mqtt/subscribe.ts";
import { ProtocolViolation } from "../mqtt/violation.ts";
import type { GroupNumber } from "../store/store.ts";
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
   * Subscribes the session to what may be granted. A filter that stands more than once in the packet is taken once, with the last QoS.
   * @throws ProtocolViolation for a filter that can't be granted under MQTT 3.1, whose SUBACK can't say so.
   */
  subscribe(entry: Entry, version: ProtocolVersion, requests: readonly SubscriptionRequest[]): Subscribed {
    const wanted = new Map<string, QoS>();
    for (const { filter, qos } of requests) wanted.set(filter, qos);
    const refused = new Set<string>();
    const owed: string[] = [];
    let after: GroupNumber = 0;
    let examined = 0;
    for (const [filter, qos] of wanted) {
      examined += 1;
      const full = this.mount.prefix + filter;
      const isNew = !entry.filters.has(full);
      const group = examined > MAX_SESSION_FILTERS ? this.refuseBeyond(entry, version, filter) : this.subscribeTo(entry, version, filter, qos);
      if (group === undefined) {
        refused.add(filter);
        continue;
      }
      if (group > after) after = group;
      // A bridge has what it has been sent: it gets the retained messages of new subscriptions only.
      if (isNew || !entry.peerIsBridge) owed.push(full);
    }
    // 3.1 knows no failure code; what may end there without a subscription is a filter that its user may not read.
    const failure = version >= 4 ? SUBACK_FAILURE : undefined;
    const codes = requests.map(({ filter, qos }) => (refused.has(filter) ? (failure ?? qos) : qos));
    return { codes, after, owed };
  }

  /** The group that holds the subscription, undefined if it is refused. */
  private subscribeTo(entry: Entry, version: ProtocolVersion, filter: string, qos: QoS): GroupNumber | undefined {
    const { broker, log } = this.context;
    const problem = filterProblem(filter);
    if (problem) {
      if (this.mayLogRefusal()) log.write("invalidFilter", { client: entry.session.clientId, filter: shortened(filter), problem });
      return unlessOld(version, Reason.TopicFilterInvalid, `SUBSCRIBE with an invalid topic filter: ${problem}`);
    }
    const full = this.mount.prefix + filter;
    if (entry.rights && !entry.rights.maySubscribe(full)) {
      if (this.mayLogRefusal()) log.write("subscribeDenied", { client: identityText(entry.identity), filter: shortened(full) });
      return undefined;
    }
    const group = broker.subscribe(entry, full, qos);
    return typeof group === "number" ? group : this.refuseByLimit(entry, version, filter, group);
  }

  private refuseBeyond(entry: Entry, version: ProtocolVersion, filter: string): undefined {
    return this.refuseByLimit(entry, version, filter, `a packet may have ${MAX_SESSION_FILTERS} topic filters`);
  }

  private refuseByLimit(entry: Entry, version: ProtocolVersion, filter: string, limit: string): undefined {
    if (!this.hasLoggedLimit) {
      this.hasLoggedLimit = true;
      this.context.log.write("subscriptionLimit", { client: identityText(entry.identity), filter: shortened(filter), limit });
    }
    return unlessOld(version, Reason.QuotaExceeded, `SUBSCRIBE beyond a limit: ${limit}`);
  }

  private mayLogRefusal(): boolean {
    this.loggedRefusals += 1;
    return this.loggedRefusals <= MAX_LOGGED_REFUSALS;
  }
}

/** "Granted" for what is not stored would be a lie, and MQTT 3.1 has no other word. */
function unlessOld(version: ProtocolVersion, reason: ReasonCode, text: string): undefined {
  if (version < 4) throw new ProtocolViolation(reason, text);
  return undefined;
}

const MAX_LOGGED_FILTER_CHARACTERS = 200;

function shortened(filter: string): string {
  return filter.length <= MAX_LOGGED_FILTER_CHARACTERS ? filter : `${filter.slice(0, MAX_LOGGED_FILTER_CHARACTERS)}...`;
}
