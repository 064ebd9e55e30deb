import { lookup, type LookupOptions } from "node:dns";
import type { LookupFunction } from "node:net";

type Callback = Parameters<LookupFunction>[2];

interface Waiting {
  readonly host: string;
  readonly options: LookupOptions;
  readonly callback: Callback;
  readonly isOver: () => boolean;
}

/** After so long a name counts as one that nobody answers for. */
const SLOW_MS = 1_000;

const waiting: Waiting[] = [];
/** Names whose last look-up was slow or failed: they wait behind the others. */
const troubled = new Set<string>();
let isBusy = false;

/**
 * Looks up a host name. A look-up occupies one of the few threads that the store needs too, for seconds if no name server answers: so there
 * is one at a time, names that have made trouble come last, and who has given up meanwhile (`isOver`) is left out.
 */
export function lookUp(host: string, options: LookupOptions, callback: Callback, isOver: () => boolean): void {
  waiting.push({ host, options, callback, isOver });
  next();
}

function next(): void {
  if (isBusy) return;
  for (let index = waiting.length - 1; index >= 0; index--) if (waiting[index]?.isOver()) waiting.splice(index, 1);
  const good = waiting.findIndex(({ host }) => !troubled.has(host));
  const [turn] = waiting.splice(Math.max(good, 0), 1);
  if (!turn) return;
  isBusy = true;
  const startedMs = performance.now();
  lookup(turn.host, turn.options, (error, address, family) => {
    isBusy = false;
    if (error || performance.now() - startedMs > SLOW_MS) troubled.add(turn.host);
    else troubled.delete(turn.host);
    turn.callback(error, address, family);
    next();
  });
}
