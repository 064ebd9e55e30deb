import { accessSync, constants, statSync } from "node:fs";
import type { Config, Problem } from "./config.ts";

/** Looks whether the folders that listeners serve over HTTP can be served. */
export function checkHttpFolders({ listeners }: Pick<Config, "listeners">): Problem[] {
  return listeners.flatMap(({ httpDirectory, httpPlace, protocol }) => {
    const problem = httpDirectory === undefined || protocol === "mqtt" ? undefined : folderProblem(httpDirectory);
    return problem === undefined ? [] : [{ ...httpPlace, severity: "error" as const, message: `http_dir ${httpDirectory ?? ""}: ${problem}` }];
  });
}

function folderProblem(folder: string): string | undefined {
  try {
    if (!statSync(folder).isDirectory()) return "it is not a folder";
    accessSync(folder, constants.R_OK | constants.X_OK);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
