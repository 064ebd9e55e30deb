/** The last lines that were added, oldest first. */
export class Ring {
  private lines: string[] = [];
  private next = 0;

  constructor(private max: number) {}

  get limit(): number {
    return this.max;
  }

  set limit(max: number) {
    this.lines = max === 0 ? [] : this.all().slice(-max);
    this.next = this.lines.length === max ? 0 : this.lines.length;
    this.max = max;
  }

  add(line: string): void {
    if (this.max === 0) return;
    this.lines[this.next] = line;
    this.next = (this.next + 1) % this.max;
  }

  all(): string[] {
    return this.lines.length < this.max ? [...this.lines] : [...this.lines.slice(this.next), ...this.lines.slice(0, this.next)];
  }
}
