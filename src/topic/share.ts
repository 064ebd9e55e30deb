const PREFIX = "$share/";

/** A shared subscription's filter taken apart: `$share/GROUP/FILTER` [MQTT 5.0 section 4.8.2]. */
export interface Share {
  /** The share name. */
  readonly group: string;
  readonly filter: string;
}

export const isShared = (filter: string): boolean => filter.startsWith(PREFIX);

/** The parts of a filter for which `isShared` is true; undefined if it has not got them all [MQTT-4.8.2-1] [MQTT-4.8.2-2]. */
export function shareOf(filter: string): Share | undefined {
  const end = filter.indexOf("/", PREFIX.length);
  const group = filter.slice(PREFIX.length, end);
  if (end <= PREFIX.length || end === filter.length - 1 || /[+#]/.test(group)) return undefined;
  return { group, filter: filter.slice(end + 1) };
}

export const sharedFilter = ({ group, filter }: Share): string => `${PREFIX}${group}/${filter}`;

/** The filter with a mount point before it: in a shared subscription before the part that stands for topics. */
export function below(prefix: string, filter: string): string {
  const share = prefix !== "" && isShared(filter) ? shareOf(filter) : undefined;
  return share ? sharedFilter({ group: share.group, filter: prefix + share.filter }) : prefix + filter;
}

/** The part of a filter that stands for topics. */
export function topicPart(filter: string): string {
  return (isShared(filter) ? shareOf(filter)?.filter : undefined) ?? filter;
}
