/** What changes a running daemon's parts, one after the other: two at a time would each open what the other is opening. */
export class Changes {
  private last: Promise<unknown> = Promise.resolve();

  /** Makes the change when those before it have been made, or have failed. */
  make<T>(change: () => Promise<T>): Promise<T> {
    const made = this.last.then(change);
    this.last = made.catch(() => undefined);
    return made;
  }
}
