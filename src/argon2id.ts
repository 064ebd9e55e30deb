import { once } from "node:events";
import type { Worker } from "node:worker_threads";

interface Answer {
  readonly right: boolean;
  readonly error?: string;
}

const WORKER = new URL("./argon2id-worker.js", import.meta.url);

let worker: Worker | undefined;

/** Checks a password against an argon2id hash in a worker, which is made with the first one. One at a time: the caller waits. */
export async function verifyArgon2id(encoded: string, password: Buffer, program = WORKER): Promise<boolean> {
  worker ??= new (await import("node:worker_threads")).Worker(program); // of no use to others
  const thread = worker;
  thread.ref();
  try {
    const answered = once(thread, "message") as Promise<[Answer]>;
    thread.postMessage({ encoded, password: password.toString("base64") });
    const [{ right, error }] = await answered;
    if (error !== undefined) throw new Error(error);
    return right;
  } catch (error) {
    worker = undefined;
    void thread.terminate();
    throw error;
  } finally {
    thread.unref();
  }
}
