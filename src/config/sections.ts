import type { Place } from "./config.ts";
import { ConnectionSection } from "./connection-section.ts";
import type { Keyword } from "./keyword.ts";
import { connectionKeywords } from "./keywords/connection.ts";
import { globalKeywords } from "./keywords/global.ts";
import { listenerKeywords } from "./keywords/listener.ts";
import { isNotYet, notYetKeywords } from "./keywords/not-yet.ts";
import { tlsConnectionKeywords, tlsListenerKeywords } from "./keywords/tls.ts";
import type { Word } from "./lexer.ts";
import { nearest } from "./nearest.ts";
import { Section, type Report } from "./section.ts";
import { parseTopicLine } from "./topic-line.ts";

const TLS_WORDS: ReadonlySet<string> = new Set([...tlsListenerKeywords, ...tlsConnectionKeywords].map(({ name }) => name));
const SECTION_WORDS = ["listener", "connection", "topic"];

/** The sections of a file as they are read: which one a line belongs to. */
export class Sections {
  readonly global: Section;
  readonly listeners: Section[] = [];
  readonly connections: ConnectionSection[] = [];
  private current: Section;

  constructor(
    file: string,
    private readonly lenient: boolean,
    /** For a line that `--lenient` leaves out. */
    private readonly reportLine: Report,
    private readonly report: Report,
  ) {
    this.global = new Section(globalKeywords, { file, line: 0 }, []);
    this.current = this.global;
  }

  take(word: Word, values: readonly Word[], at: Place): void {
    const name = word.text.toLowerCase();
    if (name === "listener") {
      this.current = new Section(listenerKeywords, at, values);
      this.listeners.push(this.current);
      if (!values[0]) this.report(at, word.column, "error", "listener needs a port");
    } else if (name === "connection") {
      const section = new ConnectionSection(connectionKeywords, at, values);
      this.current = section;
      if (this.lenient && this.connections.some(({ title }) => title[0]?.text === values[0]?.text)) {
        return this.report(at, word.column, "warning", `connection ${values[0]?.text ?? ""} is defined twice; the second one is ignored`);
      }
      this.connections.push(section);
      if (!values[0]) this.report(at, word.column, "error", "connection needs a name");
    } else if (name === "topic" && this.current instanceof ConnectionSection) {
      const topic = parseTopicLine(values, at, this.report, this.lenient);
      if (topic) this.current.topics.push(topic);
    } else if (isNotYet(name)) {
      this.report(at, word.column, "error", `${word.text} is not supported yet`);
    } else {
      // Without a keyword of TLS the daemon would be less safe than was asked for.
      takeKeyword(this.current, this.global, word, name, values, at, TLS_WORDS.has(name) ? this.report : this.reportLine);
    }
  }
}

function takeKeyword(current: Section, global: Section, word: Word, name: string, values: readonly Word[], at: Place, report: Report): void {
  const inSection = current.keyword(name);
  if (inSection) return current.take(inSection, word, values, at, report);
  const everywhere = global.keyword(name);
  if (everywhere && current instanceof ConnectionSection && tlsListenerKeywords.some((keyword) => keyword.name === name)) {
    return report(at, word.column, "error", `${word.text} belongs to a listener; a connection has bridge_${name}`);
  }
  if (everywhere) return global.take(everywhere, word, values, at, report);
  if (name === "mount_point") return report(at, word.column, "error", "mount_point belongs into a listener section: the default listener can't have one");
  const elsewhere = listenerKeywords.some((keyword) => keyword.name === name) ? "listener" : isConnectionKeyword(name) ? "connection" : undefined;
  if (elsewhere) return report(at, word.column, "error", `${word.text} belongs into a ${elsewhere} section`);
  const keywords: readonly Keyword[] = [...globalKeywords, ...listenerKeywords, ...connectionKeywords];
  const known = [...keywords.map((keyword) => keyword.name), ...keywords.flatMap(({ aliases }) => aliases)];
  const guess = nearest(name, [...known, ...notYetKeywords.flatMap(({ names }) => names), ...SECTION_WORDS]);
  report(at, word.column, "error", `unknown keyword ${word.text}${guess === undefined ? "" : `; did you mean ${guess}?`}`);
}

function isConnectionKeyword(name: string): boolean {
  return name === "topic" || connectionKeywords.some((keyword) => keyword.name === name || (keyword.aliases as readonly string[]).includes(name));
}
