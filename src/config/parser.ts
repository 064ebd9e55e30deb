import type { Config, Place, Problem } from "./config.ts";
import { buildConfig } from "./global-section.ts";
import { wordsOf, type Word } from "./lexer.ts";
import type { ParseOptions } from "./parse-options.ts";
import type { Report } from "./section.ts";
import { Sections } from "./sections.ts";

const INCLUDE_WORD = "include_dir";

/** A line of a configuration file, or of one that it includes. */
interface Line extends Place {
  readonly words: readonly Word[];
}

/**
 * Reads a configuration file: the original's grammar (a keyword and its values a line, sections, `#` comments, quotes), keywords in any case.
 * The configuration is usable only if no problem is an error.
 */
export function parseConfig(text: string, file: string, options: ParseOptions = {}): { config: Config; problems: Problem[] } {
  const problems: Problem[] = [];
  const report: Report = ({ file: place, line }, column, severity, message) => problems.push({ file: place, line, column, severity, message });
  const reportLine: Report = options.lenient
    ? (at, column, _severity, message) => report(at, column, "warning", `${message}; the line is ignored`)
    : report;
  const sections = new Sections(file, options.lenient === true, reportLine, report);
  const open = new Set<string>();
  const readLines = (lines: Iterable<Line>): void => {
    for (const line of lines) {
      const [word, ...values] = line.words;
      if (!word) continue;
      if (word.text.toLowerCase() === INCLUDE_WORD) readFolder(line, word, values[0]);
      else sections.take(word, values, line);
    }
  };
  const readFolder = (at: Place, word: Word, folder: Word | undefined): void => {
    if (!folder) return reportLine(at, word.column, "error", `${word.text} needs a folder`);
    try {
      for (const included of options.include?.(folder.text) ?? []) {
        if (open.has(included.file)) {
          report(at, folder.column, "error", `${word.text} ${folder.text}: ${included.file} includes itself`);
          continue;
        }
        open.add(included.file);
        readLines(linesOf(included.text, included.file));
        open.delete(included.file);
      }
    } catch (error) {
      report(at, folder.column, "error", `${word.text} ${folder.text}: ${error instanceof Error ? error.message : String(error)}`);
    }
  };
  open.add(file);
  readLines(linesOf(text, file));
  return { config: buildConfig(file, sections, options, report), problems };
}

function* linesOf(text: string, file: string): Generator<Line> {
  for (const [index, content] of text.replace(/^\uFEFF/, "").split("\n").entries()) yield { file, line: index + 1, words: wordsOf(content) };
}
