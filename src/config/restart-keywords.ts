import type { Config } from "./config.ts";

/** What a reload can't take up: keyword and how its value is read. */
const RESTART_KEYWORDS: Readonly<Record<string, (config: Config) => unknown>> = {
  persistence: (config) => config.persistence,
  persistence_location: (config) => config.persistenceDirectory,
  durability: (config) => config.durability,
  commit_interval_ms: (config) => config.commitIntervalMs,
  strict_store: (config) => config.strictStore,
  autosave_interval: (config) => config.autosaveIntervalMs,
  store_min_free: (config) => config.limits.storeMinFreeBytes,
  max_queue_memory: (config) => config.limits.maxQueueMemoryBytes,
  max_uncommitted_bytes: (config) => config.limits.maxUncommittedBytes,
  log_dest: (config) => config.logDestinations,
  pid_file: (config) => config.pidFile,
};

/** Keywords whose new values wait for the next start. */
export function restartKeywords(before: Config, after: Config): string[] {
  return Object.entries(RESTART_KEYWORDS)
    .filter(([, value]) => JSON.stringify(value(before)) !== JSON.stringify(value(after)))
    .map(([keyword]) => keyword);
}
