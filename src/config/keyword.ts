import { isIP } from "node:net";

/** What a value may be; `parse` gives the value or says what is accepted. */
export interface ValueType {
  readonly name: string;
  readonly parse: (text: string) => Value | Unaccepted;
}
export type Value = string | number | boolean;

/** A value that is not accepted, and what would be. */
export class Unaccepted {
  constructor(readonly wanted: string) {}
}

export interface Keyword {
  readonly name: string;
  readonly aliases: readonly string[];
  readonly type: ValueType;
  /** Takes any number of values and may repeat; each adds. */
  readonly list?: boolean;
  /** The keyword of the same section that takes a second value. */
  readonly second?: string;
  /** Whether a reload takes up a changed value; if not, it says that a restart is wanted. */
  readonly reload?: boolean;
  readonly default: Value | undefined;
  readonly doc: string;
}

const YES = new Set(["true", "yes", "on", "1"]);
const NO = new Set(["false", "no", "off", "0"]);

export const boolean: ValueType = {
  name: "true or false",
  parse: (text) => {
    const word = text.toLowerCase();
    if (YES.has(word)) return true;
    return NO.has(word) ? false : new Unaccepted("true or false");
  },
};

export const string: ValueType = { name: "text", parse: (text) => text };

/** One of our own; whether it is one is seen when it is used. */
export const localAddress: ValueType = {
  name: "an IPv4 or IPv6 address of this machine",
  parse: (text) => (isIP(text) !== 0 ? text : new Unaccepted("an IPv4 or IPv6 address of this machine")),
};

/** A whole number in a range. */
export function whole(min: number, max: number, unit = ""): ValueType {
  const wanted = `a whole number from ${min} to ${max}${unit && ` (${unit})`}`;
  return {
    name: wanted,
    parse: (text) => {
      const value = Number(text);
      return /^[+-]?\d+$/.test(text) && value >= min && value <= max ? value : new Unaccepted(wanted);
    },
  };
}

/** A limit: a whole number, where 0 and -1 mean that there is none. */
export function limit(unit: string): ValueType {
  const wanted = `a whole number (${unit}), 0 or -1 for no limit`;
  return {
    name: wanted,
    parse: (text) => {
      if (!/^[+-]?\d+$/.test(text)) return new Unaccepted(wanted);
      const value = Number(text);
      if (value === 0 || value === -1) return Infinity;
      return value > 0 && Number.isSafeInteger(value) ? value : new Unaccepted(wanted);
    },
  };
}

/** mosquitto's `3,4,5`: protocol levels, with commas between them. */
export const protocolVersions: ValueType = {
  name: "3 (MQTT 3.1), 4 (3.1.1), 5; several with commas between them",
  parse: (text) => (/^[345](,[345])*$/.test(text) ? text : new Unaccepted("3, 4 or 5, several with commas between them")),
};

/** `max_connections` of the original: 0 refuses everybody, a negative number is no limit. */
export const connectionCount: ValueType = {
  name: "a whole number, -1 for no limit",
  parse: (text) => {
    if (!/^[+-]?\d+$/.test(text)) return new Unaccepted("a whole number, -1 for no limit");
    return Number(text) < 0 ? Infinity : Number(text);
  },
};

const DURATION_UNITS_MS: Readonly<Record<string, number>> = { s: 1000, h: 3_600_000, d: 86_400_000, w: 604_800_000, m: 2_592_000_000, y: 31_536_000_000 };

/** mosquitto's `2w`: a number and h, d, w, m (30 days), y (365 days); also s. In ms; 0 and -1 mean that there is none. */
export const duration: ValueType = {
  name: "a number with s, h, d, w, m or y, as 14d; 0 for no limit",
  parse: (text) => {
    const [, digits = "", unit = ""] = /^([+-]?\d+)([shdwmy]?)$/i.exec(text) ?? [];
    if (digits !== "" && (Number(digits) === 0 || Number(digits) === -1)) return Infinity;
    const value = Number(digits) * (DURATION_UNITS_MS[unit.toLowerCase()] ?? 0);
    return value > 0 ? value : new Unaccepted("a number with s, h, d, w, m or y, as 14d; 0 for no limit");
  },
};

const AGE_UNITS_MS: Readonly<Record<string, number>> = { "": 1000, s: 1000, min: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };
const WANTED_AGE = "a number of seconds, or one with s, min, h, d or w; 0 or -1 for no limit";

/** An age, in ms; 0 and -1 mean that there is no limit. There are no months: `m` might be meant for minutes. */
export const age: ValueType = {
  name: WANTED_AGE,
  parse: (text) => {
    const [, digits = "", unit = ""] = /^([+-]?\d+)(s|min|h|d|w|)$/i.exec(text) ?? [];
    if (digits !== "" && (Number(digits) === 0 || Number(digits) === -1)) return Infinity;
    const value = Number(digits) * (AGE_UNITS_MS[unit.toLowerCase()] ?? 0);
    return value > 0 && Number.isSafeInteger(value) ? value : new Unaccepted(WANTED_AGE);
  },
};

export function oneOf(...words: string[]): ValueType {
  return { name: words.join(", "), parse: (text) => (words.includes(text.toLowerCase()) ? text.toLowerCase() : new Unaccepted(`one of ${words.join(", ")}`)) };
}

/** For what has one meaning here: other values are refused, not passed over. */
export function only(...words: string[]): ValueType {
  const wanted = `${words.join(" or ")}: nothing else is supported yet`;
  return { name: words.join(" or "), parse: (text) => (words.includes(text.toLowerCase()) ? text.toLowerCase() : new Unaccepted(wanted)) };
}
