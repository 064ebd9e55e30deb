// A process of its own: publishes numbered messages to flood/0, flood/1, ..., as many topics as publishers, and ends when all are acknowledged.
import { publishNumbered } from "./flood.ts";

const [port = 0, publishers = 0, messages = 0, payloadBytes = 0] = process.argv.slice(2).map(Number);
void Promise.all(Array.from({ length: publishers }, (_, index) => publishNumbered(port, `flood${index}`, messages / publishers, payloadBytes, () => `flood/${index}`)));
