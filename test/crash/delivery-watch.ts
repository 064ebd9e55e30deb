import type { Publish } from "../scenario/packets.ts";

/** The daemon notes within a second which QoS 1 messages are acknowledged; the rest is for a busy machine. */
const NOTED_AFTER_MS = 3_000;

/** Message `number` of a stream (one sender, one topic, one QoS): `p1-2 17 300 xxx...`, the last number being the length of the filling. */
export function numbered(stream: string, number: number, fillingBytes: number): string {
  return `${stream} ${number} ${fillingBytes} ${"x".repeat(fillingBytes)}`;
}

export const keyOf = (stream: string, number: number): string => `${stream} ${number}`;

interface Receipt {
  /** Of the newest copy. */
  connection: number;
  acknowledgedMs: number | undefined;
  /** The receiver has answered some copy with PUBACK or PUBREC. */
  isTaken: boolean;
}

/**
 * Judges what one receiver gets, from the packets on the wire, whichever side dialled. QoS 2: one identifier is one message until PUBREL, and
 * none comes again after it. QoS 1: a copy comes on a later connection only, with DUP, and not long after its PUBACK. First copies in order.
 */
export class DeliveryWatch {
  readonly violations: string[] = [];
  /** Copies of QoS 1 messages that are wrong unless the sender sent the message to the daemon more than once. */
  readonly unexplained: { readonly key: string; readonly text: string }[] = [];
  /** First copies that came after the one of a higher number. */
  readonly overtaken: { readonly key: string; readonly by: string }[] = [];
  readonly #receipts = new Map<string, Receipt>();
  readonly #highest = new Map<string, number>();
  /** Keys by packet identifier: QoS 2 without PUBREL, and QoS 1 without PUBACK on this connection. */
  readonly #unreleased = new Map<number, string>();
  readonly #unacknowledged = new Map<number, string>();
  readonly #endsMs: number[] = [];
  #connection = 0;

  constructor(readonly name: string) {}

  has(key: string): boolean {
    return this.#receipts.has(key);
  }

  isTaken(key: string): boolean {
    return this.#receipts.get(key)?.isTaken ?? false;
  }

  /** CONNACK. Without a session no identifier of the past means anything. */
  begin(hasSession: boolean): void {
    this.#connection += 1;
    this.#unacknowledged.clear();
    if (!hasSession) this.#unreleased.clear();
  }

  end(): void {
    this.#endsMs[this.#connection] ??= Date.now();
  }

  publish(publish: Publish): void {
    const key = this.#check(publish);
    if (publish.qos === 2) this.#onQos2(publish, key);
    else this.#onQos1(publish, key);
  }

  /** The receiver sends PUBACK. */
  acknowledge(id: number): void {
    const receipt = this.#receipts.get(this.#unacknowledged.get(id) ?? "");
    this.#unacknowledged.delete(id);
    if (!receipt) return;
    receipt.acknowledgedMs = Date.now();
    receipt.isTaken = true;
  }

  /** The receiver sends PUBREC. */
  receive(id: number): void {
    const receipt = this.#receipts.get(this.#unreleased.get(id) ?? "");
    if (receipt) receipt.isTaken = true;
  }

  /** PUBREL comes. */
  release(id: number): void {
    this.#unreleased.delete(id);
  }

  /** The message's key; "" for one that is not numbered (it clears a retained value), of which nothing but its identifier is judged. */
  #check({ payload, topic, qos }: Publish): string {
    const [stream, number, fillingBytes] = payload.slice(0, 40).split(" ", 3);
    if (payload === "" || stream === undefined) return "";
    const key = keyOf(stream, Number(number));
    if (qos === 0) this.violations.push(`${this.name}: ${key} at QoS 0`);
    if (!topic.endsWith(`/${stream}`)) this.violations.push(`${this.name}: ${key} under ${topic}`);
    if (payload.length !== `${key} ${fillingBytes} `.length + Number(fillingBytes)) this.violations.push(`${this.name}: ${key} is damaged`);
    return key;
  }

  #onQos2({ id, dup }: Publish, key: string): void {
    const known = this.#unreleased.get(id);
    if (known !== undefined) {
      if (known !== key) this.violations.push(`${this.name}: identifier ${id} for ${key} while it stands for ${known}`);
      else if (!dup) this.violations.push(`${this.name}: QoS 2 ${key} again without DUP`);
      return;
    }
    this.#unreleased.set(id, key);
    if (this.#receipts.has(key)) this.violations.push(`${this.name}: QoS 2 ${key} once more`);
    else this.#first(key);
  }

  #onQos1({ id, dup }: Publish, key: string): void {
    const inUse = this.#unreleased.get(id) ?? this.#unacknowledged.get(id) ?? key;
    if (inUse !== key) this.violations.push(`${this.name}: identifier ${id} for ${key} while it stands for ${inUse}`);
    this.#unacknowledged.set(id, key);
    const receipt = this.#receipts.get(key);
    if (!receipt) return this.#first(key);
    const { connection, acknowledgedMs = Infinity } = receipt;
    const hadMs = (this.#endsMs[connection] ?? Date.now()) - acknowledgedMs;
    if (connection === this.#connection) this.unexplained.push({ key, text: `${this.name}: QoS 1 ${key} again on the same connection` });
    else if (!dup) this.unexplained.push({ key, text: `${this.name}: QoS 1 ${key} again without DUP` });
    else if (hadMs > NOTED_AFTER_MS) this.unexplained.push({ key, text: `${this.name}: QoS 1 ${key} again, its PUBACK was ${hadMs} ms old` });
    receipt.connection = this.#connection;
    receipt.acknowledgedMs = undefined;
  }

  #first(key: string): void {
    if (key === "") return;
    this.#receipts.set(key, { connection: this.#connection, acknowledgedMs: undefined, isTaken: false });
    const [stream = "", number] = key.split(" ");
    const highest = this.#highest.get(stream) ?? -1;
    if (Number(number) < highest) this.overtaken.push({ key, by: keyOf(stream, highest) });
    this.#highest.set(stream, Math.max(highest, Number(number)));
  }
}
