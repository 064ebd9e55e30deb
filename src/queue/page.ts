import { isIntactRecord, RECORD_HEADER_BYTES, recordEnd, recordSeq } from "./record.ts";

/**
 * The intact records of a page, one behind the other: the page itself when all are. A damaged record whose length still leads to the next
 * one costs nothing else; where the length is damaged too, the rest of the page is lost. In a damaged page only sequence
 * numbers that rise, from `firstSeq` to below `beforeSeq`, are believed.
 */
export function intactRecords(page: Buffer, firstSeq: number, beforeSeq: number): Buffer {
  let intactTo = 0;
  while (intactTo < page.length && isIntactRecord(page, intactTo, page.length)) intactTo = recordEnd(page, intactTo);
  return intactTo === page.length ? page : intactRuns(page, firstSeq, beforeSeq);
}

function intactRuns(page: Buffer, firstSeq: number, beforeSeq: number): Buffer {
  const runs: Buffer[] = [];
  let runFrom = 0;
  let lastSeq = firstSeq - 1;
  let at = 0;
  while (page.length - at >= RECORD_HEADER_BYTES) {
    const end = recordEnd(page, at);
    const seq = recordSeq(page, at);
    const isIntact = isIntactRecord(page, at, page.length) && seq > lastSeq && seq < beforeSeq;
    if (isIntact) lastSeq = seq;
    else {
      if (runFrom < at) runs.push(page.subarray(runFrom, at));
      runFrom = end;
      if (end > page.length || end < at + RECORD_HEADER_BYTES) {
        runFrom = page.length;
        break;
      }
    }
    at = end;
  }
  if (runFrom < at) runs.push(page.subarray(runFrom, at));
  return Buffer.concat(runs);
}
