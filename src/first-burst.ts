import { setFlagsFromString } from "node:v8";

/** Some 5,000 small messages. */
const BURST_BYTES = 640 * 1024;
const LOOK_EVERY_MS = 10;
const MOST_LOOKS = 25;

/**
 * Has V8 optimize nothing while the first burst of messages comes, a quarter of a second at most: it is through before it would gain by that, and on a single
 * core would wait for the compiler.
 */
export function letFirstBurstThrough(traffic: { readonly receivedBytes: number }): void {
  const end = traffic.receivedBytes + BURST_BYTES;
  let looks = 0;
  setFlagsFromString("--no-turbofan");
  const timer = setInterval(() => {
    if (traffic.receivedBytes < end && ++looks < MOST_LOOKS) return;
    clearInterval(timer);
    setFlagsFromString("--turbofan");
  }, LOOK_EVERY_MS);
}
