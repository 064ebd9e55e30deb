import { createWriteStream } from "node:fs";

/** Where console lines go. */
type Destination = { readonly kind: "stdout" | "stderr" | "none" } | { readonly kind: "file"; readonly path: string };

/** Writes lines to all destinations. A file that can't be written is said once on stderr; the daemon goes on. */
export function lineWriter(destinations: readonly Destination[]): (line: string) => void {
  const writers = destinations.flatMap((destination): NodeJS.WritableStream[] => {
    if (destination.kind === "none") return [];
    if (destination.kind !== "file") return [process[destination.kind]];
    const file = createWriteStream(destination.path, { flags: "a", mode: 0o640 });
    file.on("error", (error) => process.stderr.write(`log_dest file ${destination.path}: ${error.message}\n`));
    return [file];
  });
  return (line) => {
    for (const writer of writers) writer.write(`${line}\n`);
  };
}
