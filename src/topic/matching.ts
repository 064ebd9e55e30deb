const HASH = 0x23;
const PLUS = 0x2b;

/**
 * Whether a topic name matches a topic filter [MQTT-4.7]; both must be valid. Goes through the levels of the filter only: a name may have
 * 65535.
 */
export function filterMatches(filter: string, name: string): boolean {
  if (name.startsWith("$") && !filter.startsWith("$")) return false; // [MQTT-4.7.2-1]
  let filterAt = 0;
  let nameAt = 0;
  for (;;) {
    // Also when the name has just ended: a/# matches a [MQTT-4.7.1-2].
    if (filter.charCodeAt(filterAt) === HASH) return true;
    if (nameAt > name.length) return false;
    const filterEnd = levelEnd(filter, filterAt);
    const nameEnd = levelEnd(name, nameAt);
    if (filter.charCodeAt(filterAt) !== PLUS) {
      const lead = nameAt - filterAt;
      if (filterEnd + lead !== nameEnd) return false;
      for (let at = filterAt; at < filterEnd; at++) if (filter.charCodeAt(at) !== name.charCodeAt(at + lead)) return false;
    }
    if (filterEnd === filter.length) return nameEnd === name.length;
    filterAt = filterEnd + 1;
    nameAt = nameEnd + 1;
  }
}

function levelEnd(text: string, from: number): number {
  const slash = text.indexOf("/", from);
  return slash < 0 ? text.length : slash;
}

/**
 * Whether a name that matches the filter is hidden from a client below a mount point: as the client sees them, the name begins with `$` and
 * the filter with a wildcard [MQTT-4.7.2-1]. Filter and name are the full ones.
 */
export function isHiddenBelow(mountPrefix: string, filter: string, name: string): boolean {
  if (name.charAt(mountPrefix.length) !== "$" || !name.startsWith(mountPrefix)) return false;
  return !(filter.startsWith(mountPrefix) && filter.charAt(mountPrefix.length) === "$");
}

/** Whether every topic name that matches `specific` also matches `general`. */
export function filterCovers(general: string, specific: string): boolean {
  const generalLevels = general.split("/");
  const specificLevels = levelsOfNames(specific);
  if (isWildcard(generalLevels[0]) && specific.startsWith("$")) return false;
  for (const [i, level] of generalLevels.entries()) {
    if (level === "#") return true;
    const other = specificLevels[i];
    if (other === undefined || other === "#") return false;
    if (level !== "+" && level !== other) return false;
  }
  return generalLevels.length === specificLevels.length;
}

/** Whether some topic name matches both filters. */
export function filtersOverlap(a: string, b: string): boolean {
  const aLevels = levelsOfNames(a);
  const bLevels = levelsOfNames(b);
  if (isWildcard(aLevels[0]) && b.startsWith("$")) return false;
  if (isWildcard(bLevels[0]) && a.startsWith("$")) return false;
  const levels = Math.max(aLevels.length, bLevels.length);
  for (let i = 0; i < levels; i++) {
    const left = aLevels[i];
    const right = bLevels[i];
    if (left === "#" || right === "#") return true;
    if (left === undefined || right === undefined) return false;
    if (left !== "+" && right !== "+" && left !== right) return false;
  }
  return true;
}

/**
 * The filter's levels, where `#` and `/#` are spelt so that they do not stand for their parent as well: no name has
 * zero levels or is empty [MQTT-4.7.3-1], so the set of names is the same and can be compared level by level.
 */
function levelsOfNames(filter: string): string[] {
  if (filter === "#") return ["+", "#"];
  if (filter === "/#") return ["", "+", "#"];
  return filter.split("/");
}

function isWildcard(level: string | undefined): boolean {
  return level === "+" || level === "#";
}
