import type { Session } from "../session/session.ts";

/** Messages that receivers have not got, other than by a limit of their queues. */
export interface Losses {
  readonly parked: number;
  /** Answered with a reason code of an error. */
  readonly refused: number;
  /** Larger than the receiver takes. */
  readonly oversized: number;
  readonly expired: number;
}

export const NO_LOSSES: Losses = { parked: 0, refused: 0, oversized: 0, expired: 0 };

export function lossesOf({ parkedMessages, bounds: { refused, oversized, expired } }: Session): Losses {
  return { parked: parkedMessages, refused, oversized, expired };
}

export function sumOfLosses(a: Losses, b: Losses): Losses {
  return { parked: a.parked + b.parked, refused: a.refused + b.refused, oversized: a.oversized + b.oversized, expired: a.expired + b.expired };
}

/** In words; begins with a comma where there is something. */
export function textOfLosses({ parked, refused, oversized, expired }: Losses): string {
  const counts = { "put aside": parked, refused, "too large": oversized, expired };
  return Object.entries(counts).map(([what, messages]) => (messages === 0 ? "" : `, ${messages} ${what}`)).join("");
}
