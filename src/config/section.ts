import { Unaccepted, type Keyword, type Value } from "./keyword.ts";
import type { Problem } from "./config.ts";
import type { Word } from "./lexer.ts";

export type Report = (line: number, column: number, severity: Problem["severity"], message: string) => void;

interface Given {
  readonly values: Value[];
  readonly line: number;
  readonly columns: number[];
}

/** The values that one section of a file gives to its keywords. */
export class Section {
  private readonly given = new Map<string, Given>();

  constructor(
    private readonly keywords: readonly Keyword[],
    /** Line of the section's first word; 0 for the global one. */
    readonly line: number,
    readonly title: readonly Word[],
  ) {}

  keyword(name: string): Keyword | undefined {
    return this.keywords.find((keyword) => keyword.name === name || keyword.aliases.includes(name));
  }

  /** Takes a line's values for one of its keywords: the last line wins, lists add up. */
  take(keyword: Keyword, word: Word, values: readonly Word[], line: number, report: Report): void {
    const [first] = values;
    if (!first) return report(line, word.column, "error", `${word.text} needs a value: ${keyword.type.name}`);
    const wanted = keyword.list ? values : [first];
    const known = keyword.list ? this.given.get(keyword.name) : undefined;
    const given: Given = { values: [...(known?.values ?? [])], columns: [...(known?.columns ?? [])], line };
    for (const { text, column } of wanted) {
      const value = keyword.type.parse(text);
      if (value instanceof Unaccepted) return report(line, column, "error", `${word.text} ${text}: wanted is ${value.wanted}`);
      given.values.push(value);
      given.columns.push(column);
    }
    this.given.set(keyword.name, given);
  }

  has(name: string): boolean {
    return this.given.has(name);
  }

  /** Where a keyword was given: line and column of its last value. */
  place(name: string): { line: number; column: number } {
    const given = this.given.get(name);
    return { line: given?.line ?? this.line, column: given?.columns.at(-1) ?? 1 };
  }

  list(name: string): { value: string; column: number; line: number }[] {
    const given = this.given.get(name);
    return given ? given.values.map((value, index) => ({ value: String(value), column: given.columns[index] ?? 1, line: given.line })) : [];
  }

  private value(name: string): Value | undefined {
    return this.given.get(name)?.values.at(-1) ?? this.keyword(name)?.default;
  }

  string(name: string): string | undefined {
    const value = this.value(name);
    return value === undefined ? undefined : String(value);
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
