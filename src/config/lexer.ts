/** A word of a line: unquoted text, or what stood between quotes. */
export interface Word {
  readonly text: string;
  /** Counts from 1. */
  readonly column: number;
}

const BLANK = /[ \t\r]/;

/**
 * Splits a line into words at blanks and tabs. A word that begins with `"` goes up to the next `"` (or the end of the line);
 * a doubled quote inside stands for one. A line whose first word begins with `#` is a comment.
 */
export function wordsOf(line: string): Word[] {
  const words: Word[] = [];
  let at = 0;
  for (;;) {
    while (at < line.length && BLANK.test(line[at] ?? "")) at += 1;
    if (at >= line.length) return words;
    if (words.length === 0 && line[at] === "#") return words;
    const column = at + 1;
    let text = "";
    if (line[at] === '"') {
      at += 1;
      while (at < line.length) {
        if (line[at] === '"') {
          at += 1;
          if (line[at] !== '"') break;
        }
        text += line[at] ?? "";
        at += 1;
      }
    } else {
      const start = at;
      while (at < line.length && !BLANK.test(line[at] ?? "")) at += 1;
      text = line.slice(start, at);
    }
    words.push({ text, column });
  }
}
