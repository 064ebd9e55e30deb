import { resolve } from "node:path";
import { Unaccepted, type Keyword, type Value } from "./keyword.ts";
import type { Place, Problem } from "./config.ts";
import type { Word } from "./lexer.ts";

export type Report = (at: Place, column: number, severity: Problem["severity"], message: string) => void;

/** A value and where it stands. */
interface Given extends Place {
  readonly value: Value;
  readonly column: number;
}

/** The values that one section of a file gives to its keywords. */
export class Section implements Place {
  readonly file: string;
  /** Line of the section's first word; 0 for the global one. */
  readonly line: number;
  private readonly given = new Map<string, Given[]>();

  constructor(
    private readonly keywords: readonly Keyword[],
    { file, line }: Place,
    readonly title: readonly Word[],
  ) {
    this.file = file;
    this.line = line;
  }

  keyword(name: string): Keyword | undefined {
    return tableOf(this.keywords).get(name);
  }

  /** Takes a line's values for one of its keywords: the last line wins, lists add up. */
  take(keyword: Keyword, word: Word, values: readonly Word[], at: Place, report: Report): void {
    const [first] = values;
    if (!first) return report(at, word.column, "error", `${word.text} needs a value: ${keyword.type.name}`);
    const wanted = keyword.list ? values : [first];
    const given = keyword.list ? [...(this.given.get(keyword.name) ?? [])] : [];
    for (const { text, column } of wanted) {
      const value = keyword.type.parse(text);
      if (value instanceof Unaccepted) return report(at, column, "error", `${word.text} ${text}: wanted is ${value.wanted}`);
      given.push({ value, file: at.file, line: at.line, column });
    }
    this.given.set(keyword.name, given);
    if (keyword.list && values.some(({ text }) => text.startsWith("#"))) {
      report(at, word.column, "warning", `${word.text}: # begins a comment only where it is the first word of a line; here it is a value`);
    }
    const taken = keyword.list ? values.length : keyword.second === undefined ? 1 : 2;
    const surplus = values[taken];
    if (surplus) report(at, surplus.column, "warning", `${word.text} takes ${taken === 1 ? "one value" : `${taken} values`}; what follows is not looked at (put a value with blanks into quotes)`);
    const second = keyword.second === undefined ? undefined : this.keyword(keyword.second);
    if (second && values.length > 1) this.take(second, word, values.slice(1), at, report);
  }

  has(name: string): boolean {
    return this.given.has(name);
  }

  /** Where a keyword's last value stands; the section's own place if it was not given. */
  place(name: string): Place & { readonly column: number } {
    return this.given.get(name)?.at(-1) ?? { file: this.file, line: this.line, column: 1 };
  }

  list(name: string): (Place & { readonly value: string; readonly column: number })[] {
    return (this.given.get(name) ?? []).map(({ value, file, line, column }) => ({ value: String(value), file, line, column }));
  }

  private value(name: string): Value | undefined {
    const given = this.given.get(name)?.at(-1);
    return given ? given.value : this.keyword(name)?.default;
  }

  string(name: string): string | undefined {
    const value = this.value(name);
    return value === undefined ? undefined : String(value);
  }

  /** Of a file or folder: absolute. */
  path(name: string): string | undefined {
    const value = this.string(name);
    return value === undefined ? undefined : resolve(value);
  }

  number(name: string): number {
    return Number(this.value(name));
  }

  /** Undefined when neither given nor with a default. */
  optionalNumber(name: string): number | undefined {
    const value = this.value(name);
    return value === undefined ? undefined : Number(value);
  }

  boolean(name: string): boolean {
    return this.value(name) === true;
  }

  optionalBoolean(name: string): boolean | undefined {
    const value = this.value(name);
    return typeof value === "boolean" ? value : undefined;
  }
}

/** Where something stands, and nothing else of it. */
export const placeOf = ({ file, line }: Place): Place => ({ file, line });

/** Of each list of keywords, by their names and aliases. To look through the list, a hundred times for a section, has V8 optimize the look: 4 MiB of its compiler for each daemon. */
const tables = new Map<readonly Keyword[], ReadonlyMap<string, Keyword>>();

function tableOf(keywords: readonly Keyword[]): ReadonlyMap<string, Keyword> {
  const known = tables.get(keywords);
  if (known) return known;
  const table = new Map(keywords.flatMap((keyword) => [keyword.name, ...keyword.aliases].map((name) => [name, keyword] as const)));
  tables.set(keywords, table);
  return table;
}
