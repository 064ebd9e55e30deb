/** What is wrong in a password or ACL file. Lines count from 1. */
export interface FileProblem {
  readonly line: number;
  readonly severity: "error" | "warning";
  readonly message: string;
}

/** Lines of a text, numbered from 1, without empty ones, comments (`#` first, after blanks if `indentedComments`) and carriage returns. */
export function* contentLines(text: string, options: { indentedComments: boolean }): Generator<{ line: number; content: string }> {
  const lines = text.replace(/^\uFEFF/, "").split("\n");
  for (const [index, raw] of lines.entries()) {
    const content = raw.replace(/\r$/, "");
    const start = options.indentedComments ? content.trimStart() : content;
    if (content.trim() !== "" && !start.startsWith("#")) yield { line: index + 1, content };
  }
}
