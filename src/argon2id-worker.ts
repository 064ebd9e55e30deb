import { argon2Verify } from "hash-wasm";
import { parentPort } from "node:worker_threads";

parentPort?.on("message", ({ encoded, password }: { encoded: string; password: string }) => {
  argon2Verify({ hash: encoded, password: Buffer.from(password, "base64") }).then(
    (right) => parentPort?.postMessage({ right }),
    (error: unknown) => parentPort?.postMessage({ right: false, error: String(error) }),
  );
});
