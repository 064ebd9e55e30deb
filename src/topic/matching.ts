/** Whether a topic name matches a topic filter [MQTT-4.7]; both must be valid. */
export function filterMatches(filter: string, name: string): boolean {
  const filterLevels = filter.split("/");
  const nameLevels = name.split("/");
  if (isWildcard(filterLevels[0]) && name.startsWith("$")) return false; // [MQTT-4.7.2-1]
  for (const [i, level] of filterLevels.entries()) {
    // Also when the name has just ended: a/# matches a [MQTT-4.7.1-2].
    if (level === "#") return true;
    if (i >= nameLevels.length) return false;
    if (level !== "+" && level !== nameLevels[i]) return false;
  }
  return filterLevels.length === nameLevels.length;
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
