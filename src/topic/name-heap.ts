/** Topic names of which the first in order comes out first. Many can be put in and taken out a few at a time: to sort them at once would take a turn. */
export class NameHeap {
  /** Invariant: no name comes before the one at `(index - 1) >> 1`. */
  private readonly names: string[] = [];

  add(name: string): void {
    const { names } = this;
    let index = names.length;
    for (;;) {
      const parent = (index - 1) >> 1;
      const above = names[parent];
      if (above === undefined || above <= name) break;
      names[index] = above;
      index = parent;
    }
    names[index] = name;
  }

  /** Takes the first one out; undefined if there is none. */
  take(): string | undefined {
    const { names } = this;
    const first = names[0];
    const last = names.pop();
    if (last === undefined || names.length === 0) return first;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      let below = names[child];
      if (below === undefined) break;
      const right = names[child + 1];
      if (right !== undefined && right < below) {
        below = right;
        child += 1;
      }
      if (last <= below) break;
      names[index] = below;
      index = child;
    }
    names[index] = last;
    return first;
  }
}
