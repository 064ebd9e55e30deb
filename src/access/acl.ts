import { filterCovers, filterMatches, filtersOverlap } from "../topic/matching.ts";
import type { AclFile, Rule } from "./acl-file.ts";
import type { Identity } from "./identity.ts";

export type Access = "read" | "write";

/** A verdict and the rule it rests on; without a rule nothing in the file speaks of the topic. */
export interface Decision {
  readonly allowed: boolean;
  readonly rule: Rule | undefined;
}

const MAX_REMEMBERED = 4096;
/** So few are asked for less than it costs to remember what they said. */
const FEW_RULES = 8;

/** A topic as far as it remembers who may write to it. */
export interface WrittenTopic {
  readonly name: string;
  /** `Rights.number` of those by which that was last found; 0: nobody's. A number keeps nothing alive. */
  writableBy: number;
}

let rightsMade = 0;

/** What one identity, or several that differ in nothing that the rules ask for, may do under one ACL file. Decisions are remembered by topic name. */
export class Rights {
  /** Never another's, nor those of another file. */
  private readonly number = ++rightsMade;
  private readonly rules: readonly Rule[];
  private readonly remembered = { read: new Map<string, boolean>(), write: new Map<string, boolean>() };

  constructor(acl: AclFile, identity: Identity) {
    this.rules = rulesOf(acl, identity);
  }

  mayRead(topicName: string): boolean {
    return this.may("read", topicName);
  }

  mayWrite(topicName: string): boolean {
    return this.may("write", topicName);
  }

  /** The same, for each message that is published: most topics are written to by one client, or by clients of the same rights. */
  mayWriteTo(topic: WrittenTopic): boolean {
    if (topic.writableBy === this.number) return true;
    if (!this.mayWrite(topic.name)) return false;
    topic.writableBy = this.number;
    return true;
  }

  /** Whether the filter matches some topic name that may be read; each delivery is checked all the same. */
  maySubscribe(filter: string): boolean {
    if (this.rules.some((rule) => rule.deny && rule.read && filterCovers(rule.filter, filter))) return false;
    return this.rules.some((rule) => rule.read && !rule.deny && filtersOverlap(filter, rule.filter));
  }

  decide(access: Access, topicName: string): Decision {
    const rule = this.ruleFor(access, topicName);
    return { allowed: rule !== undefined && !rule.deny, rule };
  }

  private ruleFor(access: Access, topicName: string): Rule | undefined {
    for (const rule of this.rules) if (rule[access] && filterMatches(rule.filter, topicName)) return rule;
    return undefined;
  }

  private may(access: Access, topicName: string): boolean {
    if (this.rules.length <= FEW_RULES) return this.ruleFor(access, topicName)?.deny === false;
    const remembered = this.remembered[access];
    const known = remembered.get(topicName);
    if (known !== undefined) return known;
    const { allowed } = this.decide(access, topicName);
    if (remembered.size >= MAX_REMEMBERED) remembered.clear();
    remembered.set(topicName, allowed);
    return allowed;
  }
}

/** Whether the rules that hold for an identity may be others for another one of the same user. */
export function dependsOnId({ patterns }: AclFile, { kind }: Identity): boolean {
  return kind === "bridge" || patterns.some(({ filter }) => filter.includes("%c"));
}

/** A bridge that the file does not name has all rights: its topic lines say what it carries. */
export function rightsOf(acl: AclFile, identity: Identity): Rights | undefined {
  if (identity.kind === "bridge" && !acl.connections.has(identity.id)) return undefined;
  return new Rights(acl, identity);
}

/** The rules that hold for an identity, in the order in which they are asked: denials first, patterns last. */
function rulesOf(acl: AclFile, identity: Identity): Rule[] {
  const denialsFirst = (rules: readonly Rule[]): Rule[] => [...rules.filter(({ deny }) => deny), ...rules.filter(({ deny }) => !deny)];
  if (identity.kind === "bridge") return denialsFirst(acl.connections.get(identity.id) ?? []);
  const { user } = identity;
  const own = user === undefined ? [] : (acl.users.get(user) ?? []);
  const general = acl.style === "amqtdd" || user === undefined ? acl.general : [];
  return [...denialsFirst([...general, ...own]), ...denialsFirst(acl.patterns.flatMap((rule) => expand(rule, identity)))];
}

/** A name with wildcards or levels of its own would widen the pattern. */
const UNSAFE = /[+#/]|^\$/;

function expand(rule: Rule, { id, user }: Identity): Rule[] {
  const needsUser = rule.filter.includes("%u");
  const needsId = rule.filter.includes("%c");
  if (needsUser && (user === undefined || UNSAFE.test(user))) return [];
  if (needsId && UNSAFE.test(id)) return [];
  return [{ ...rule, filter: rule.filter.replace(/%[uc]/g, (word) => (word === "%u" ? (user ?? "") : id)) }];
}
