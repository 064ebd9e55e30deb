import { MAX_TOPIC_BYTES } from "../mqtt/topic-name.ts";

/** A bridge's rule for topic names: takes one prefix off and puts another on. */
export class Remap {
  readonly #strip: Buffer;
  readonly #add: Buffer;

  constructor(stripPrefix: string, addPrefix: string) {
    this.#strip = Buffer.from(stripPrefix);
    this.#add = Buffer.from(addPrefix);
  }

  /**
   * The name on the other side (the same Buffer if nothing changes), or undefined if `name` does not begin with
   * the prefix to take off or the result would be empty or longer than 65535 bytes.
   */
  apply(name: Buffer): Buffer | undefined {
    const strip = this.#strip.length;
    if (name.length < strip) return undefined;
    for (let i = 0; i < strip; i++) {
      if (name[i] !== this.#strip[i]) return undefined;
    }
    const length = this.#add.length + name.length - strip;
    if (length === 0 || length > MAX_TOPIC_BYTES) return undefined;
    if (strip === 0 && this.#add.length === 0) return name;
    const renamed = Buffer.allocUnsafe(length);
    this.#add.copy(renamed);
    name.copy(renamed, this.#add.length, strip);
    return renamed;
  }
}
