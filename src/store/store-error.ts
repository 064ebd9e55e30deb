/**
 * `locked`: another process has the store. `unwritable`: the system refuses, and will until something is changed. `unavailable`: it refuses for
 * a reason that may pass (no room, read-only, I/O error, no permission where a store may be): what is there is left as it is.
 * `corrupt`: repair did not help. `format`: written by a version we do not know, or not ours. `closed`: used after `close`.
 */
export type StoreErrorCode = "locked" | "unwritable" | "unavailable" | "corrupt" | "format" | "closed";

export class StoreError extends Error {
  override readonly name = "StoreError";
  readonly code: StoreErrorCode;

  constructor(code: StoreErrorCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

/** What the operator should hear of. `damaged`: something can't be read and is left out; `readFailed`: for now, it is read again. `setAside` and `repaired` are severe: something may be lost. */
export interface StoreEvent {
  readonly kind: "damaged" | "readFailed" | "repaired" | "setAside" | "writeFailed" | "writeRecovered" | "full" | "roomAgain";
  readonly detail: string;
}

interface Cause {
  readonly code: string;
  readonly message: string;
}

/** LevelDB's errors come wrapped ("Database failed to open", cause: the reason): the whole chain, outermost first. */
function causesOf(error: unknown): Cause[] {
  const causes: Cause[] = [];
  for (let at = error; at instanceof Error && causes.length < 8; at = at.cause) {
    const code = "code" in at && typeof at.code === "string" ? at.code : "";
    causes.push({ code, message: at.message });
  }
  return causes;
}

function hasCode(error: unknown, code: string): boolean {
  return causesOf(error).some((cause) => cause.code === code);
}

export const isLocked = (error: unknown): boolean => hasCode(error, "LEVEL_LOCKED");

export const isCorruption = (error: unknown): boolean => hasCode(error, "LEVEL_CORRUPTION");

/** The handle was closed under a read, because a write on it had failed. */
export const isNotOpen = (error: unknown): boolean => hasCode(error, "LEVEL_DATABASE_NOT_OPEN") || hasCode(error, "LEVEL_ITERATOR_NOT_OPEN");

/** The system refused LevelDB something. */
export const isOfDatabase = (error: unknown): boolean => hasCode(error, "LEVEL_IO_ERROR");

/** LevelDB hands on the text of strerror, not the code. */
export const isOutOfRoom = (error: unknown): boolean =>
  causesOf(error).some((cause) => cause.code === "ENOSPC" || cause.code === "EDQUOT" || /No space left|quota exceeded/i.test(cause.message));

/** Of the machine's condition, not of a mistake in the configuration. LevelDB hands on strerror's text. */
export const mayPass = (error: unknown): boolean =>
  isOutOfRoom(error) ||
  causesOf(error).some(({ code, message }) => /^(EROFS|EIO|EMFILE|ENFILE)$/.test(code) || /Read-only file system|Input\/output error|Too many open files/i.test(message));

export const isForbidden = (error: unknown): boolean =>
  causesOf(error).some(({ code, message }) => /^(EACCES|EPERM)$/.test(code) || /Permission denied|Operation not permitted/i.test(message));

/** The file, or its file system, can't do what was asked for. */
export const isUnsupported = (error: unknown): boolean => hasCode(error, "EINVAL");

/** The innermost reason, with its code when it is the system's. */
export function describeError(error: unknown): string {
  const innermost = causesOf(error).at(-1);
  if (innermost === undefined) return String(error);
  const { code, message } = innermost;
  return code.startsWith("E") && !message.includes(code) ? `${code}: ${message}` : message;
}
