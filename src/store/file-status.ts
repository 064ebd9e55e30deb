import { statSync, type Stats } from "node:fs";

/** Undefined if there is no such file, or if it can't be looked at. */
export function fileStatus(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}
