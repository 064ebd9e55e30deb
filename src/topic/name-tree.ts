import { filterMatches } from "./matching.ts";
import { SmallMap } from "./small-map.ts";

/** Levels of a name that are indexed each by itself: a name of 65535 levels must not cost as many nodes. */
const INDEXED_LEVELS = 16;

/** One level of the names. Invariant: a node other than the root has a value, children or deep values. */
class NameNode<V> {
  /** The value of the name that ends here. */
  value: V | undefined = undefined;
  children: SmallMap<string, NameNode<V>> | undefined = undefined;
  /** In the last indexed level: values of the names that go on below, by whole name. */
  deep: SmallMap<string, V> | undefined = undefined;

  get isEmpty(): boolean {
    return this.value === undefined && this.children === undefined && this.deep === undefined;
  }
}

/** Values by topic name, to be found by filter: the counterpart of SubscriptionTree. Names and filters must be valid. */
export class NameTree<V extends object | string> {
  readonly #root = new NameNode<V>();

  set(name: string, value: V): void {
    const levels = name.split("/", INDEXED_LEVELS + 1);
    let node = this.#root;
    for (let depth = 0; depth < levels.length; depth++) {
      if (depth === INDEXED_LEVELS) {
        node.deep ??= new SmallMap();
        node.deep.set(name, value);
        return;
      }
      const level = levels[depth] as string; // depth is below levels.length
      const children: SmallMap<string, NameNode<V>> = (node.children ??= new SmallMap());
      let child = children.get(level);
      if (child === undefined) {
        child = new NameNode<V>();
        children.set(level, child);
      }
      node = child;
    }
    node.value = value;
  }

  delete(name: string): void {
    const levels = name.split("/", INDEXED_LEVELS + 1);
    const indexed = Math.min(levels.length, INDEXED_LEVELS);
    const path: NameNode<V>[] = [];
    let node = this.#root;
    for (let depth = 0; depth < indexed; depth++) {
      const child = node.children?.get(levels[depth] as string); // depth is below levels.length
      if (child === undefined) return;
      path.push(node);
      node = child;
    }
    if (levels.length > INDEXED_LEVELS) {
      node.deep?.delete(name);
      if (node.deep?.size === 0) node.deep = undefined;
    } else {
      node.value = undefined;
    }
    for (let depth = indexed - 1; depth >= 0 && node.isEmpty; depth--) {
      node = path[depth] as NameNode<V>; // depth is below path.length
      node.children?.delete(levels[depth] as string);
      if (node.children?.size === 0) node.children = undefined;
    }
  }

  /**
   * The values whose names match the filter, step by step: undefined stands for a step that found nothing, so that whoever counts steps may
   * stop at any of them and go on later. A name that is set and stays set while this runs is found once; others may or may not be.
   */
  find(filter: string): Iterator<V | undefined> {
    return this.#findBelow(this.#root, 0, filter, filter.split("/"));
  }

  *#findBelow(node: NameNode<V>, depth: number, filter: string, levels: readonly string[]): Generator<V | undefined> {
    const level = levels[depth];
    if (level === undefined) return yield node.value;
    if (level === "#") return yield* this.#allOf(node, depth);
    if (depth === INDEXED_LEVELS) {
      for (const [name, value] of node.deep?.entries() ?? []) yield filterMatches(filter, name) ? value : undefined;
      return;
    }
    if (level !== "+") {
      const child = node.children?.get(level);
      return yield* child === undefined ? [undefined] : this.#findBelow(child, depth + 1, filter, levels);
    }
    for (const [spelling, child] of node.children?.entries() ?? []) {
      yield undefined;
      if (depth > 0 || !spelling.startsWith("$")) yield* this.#findBelow(child, depth + 1, filter, levels); // [MQTT-4.7.2-1]
    }
  }

  /** a/# matches a too [MQTT-4.7.1-2]. */
  *#allOf(node: NameNode<V>, depth: number): Generator<V | undefined> {
    yield node.value;
    for (const [spelling, child] of node.children?.entries() ?? []) {
      if (depth > 0 || !spelling.startsWith("$")) yield* this.#allOf(child, depth + 1); // [MQTT-4.7.2-1]
    }
    for (const [, value] of node.deep?.entries() ?? []) yield value;
  }
}
