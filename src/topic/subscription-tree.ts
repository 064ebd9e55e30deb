import { SmallMap } from "./small-map.ts";

/** One level of the filters. Invariant: a node other than the root has children or values. */
class TreeNode<T> {
  /** By level as spelt in the filter, `+` and `#` included. */
  children: SmallMap<string, TreeNode<T>> | undefined = undefined;
  /** Values of the filter that ends here, by key. */
  values: SmallMap<object, T> | undefined = undefined;

  get isEmpty(): boolean {
    return this.children === undefined && this.values === undefined;
  }
}

/**
 * Subscriptions by topic filter: one value for each pair of filter and key. Filters must be valid (`filterProblem`);
 * shared subscriptions are not known here.
 */
export class SubscriptionTree<T extends object | string> {
  readonly #root = new TreeNode<T>();
  #generation = 0;
  #size = 0;
  #filtersCount = 0;

  /** Changes with every change of the tree: what was derived from a match is stale when this differs. */
  get generation(): number {
    return this.#generation;
  }

  /** Makes everything derived from a match stale, for when what a match means has changed. */
  invalidate(): void {
    this.#generation++;
  }

  /** Number of values. */
  get size(): number {
    return this.#size;
  }

  /** Number of different filters. */
  get filtersCount(): number {
    return this.#filtersCount;
  }

  /** Sets the value for (filter, key); returns the value it replaces. */
  add(filter: string, key: object, value: T): T | undefined {
    let node = this.#root;
    for (const level of filter.split("/")) {
      const children: SmallMap<string, TreeNode<T>> = (node.children ??= new SmallMap());
      let child = children.get(level);
      if (child === undefined) {
        child = new TreeNode<T>();
        children.set(level, child);
      }
      node = child;
    }
    if (node.values === undefined) {
      node.values = new SmallMap();
      this.#filtersCount++;
    }
    const replaced = node.values.get(key);
    if (replaced === undefined) this.#size++;
    node.values.set(key, value);
    this.#generation++;
    return replaced;
  }

  /** Takes out the value for (filter, key) and returns it; undefined if there is none. */
  remove(filter: string, key: object): T | undefined {
    const levels = filter.split("/");
    const path: TreeNode<T>[] = [];
    let node = this.#root;
    for (const level of levels) {
      const child = node.children?.get(level);
      if (child === undefined) return undefined;
      path.push(node);
      node = child;
    }
    const removed = node.values?.get(key);
    if (node.values === undefined || removed === undefined) return undefined;
    node.values.delete(key);
    this.#size--;
    this.#generation++;
    if (node.values.size > 0) return removed;
    node.values = undefined;
    this.#filtersCount--;
    for (let i = path.length - 1; i >= 0 && node.isEmpty; i--) {
      node = path[i] as TreeNode<T>; // i is below path.length
      node.children?.delete(levels[i] as string);
      if (node.children?.size === 0) node.children = undefined;
    }
    return removed;
  }

  /** Values of all filters that match the topic name, in no particular order; a key stands once for each of its filters. */
  match(name: string): T[] {
    const levels = name.split("/");
    const found: T[] = [];
    // No recursion: the depth of the tree is the peers' choice.
    const nodes: TreeNode<T>[] = [this.#root];
    const depths: number[] = [0];
    const hidden = name.startsWith("$");
    for (let node = nodes.pop(); node !== undefined; node = nodes.pop()) {
      const depth = depths.pop() as number; // the two stacks are always equally long
      const wildcards = depth > 0 || !hidden; // [MQTT-4.7.2-1]
      if (wildcards) collect(node.children?.get("#"), found);
      const level = levels[depth];
      if (level === undefined) {
        collect(node, found);
        continue;
      }
      const exact = level === "+" || level === "#" ? undefined : node.children?.get(level);
      if (exact !== undefined) {
        nodes.push(exact);
        depths.push(depth + 1);
      }
      const any = wildcards ? node.children?.get("+") : undefined;
      if (any !== undefined) {
        nodes.push(any);
        depths.push(depth + 1);
      }
    }
    return found;
  }
}

function collect<T>(node: TreeNode<T> | undefined, found: T[]): void {
  node?.values?.copyValuesTo(found);
}
