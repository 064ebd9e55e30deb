import type { ConnectionConfig } from "../config/config.ts";
import type { Session } from "../session/session.ts";
import { BridgeConnection } from "./connection.ts";
import type { BridgeContext } from "./context.ts";
import { endQueueing } from "./retained-copy.ts";

/** All bridge connections, by name. */
export class Bridges {
  private readonly byName = new Map<string, BridgeConnection>();

  constructor(private readonly context: BridgeContext) {}

  all(): IterableIterator<BridgeConnection> {
    return this.byName.values();
  }

  get(name: string): BridgeConnection | undefined {
    return this.byName.get(name);
  }

  /** From now on messages are queued for it; it connects when it is started. */
  add(config: ConnectionConfig): BridgeConnection {
    const bridge = new BridgeConnection(config, this.context);
    const twin = [...this.byName.values()].find(({ clientId }) => clientId === bridge.clientId);
    if (twin) this.context.log.write("bridgeDuplicateId", { name: config.name, other: twin.name, client: bridge.clientId });
    this.byName.set(config.name, bridge);
    return bridge;
  }

  /** Another definition under the same name: the queue stays. */
  replace(config: ConnectionConfig): void {
    const before = this.byName.get(config.name);
    const { isOff = false } = before ?? {};
    const wasStarted = before !== undefined && !before.isOff && before.config.startType === "manual";
    if (before) this.end(before);
    const bridge = this.add(config);
    // What was stopped or started by hand stays so.
    bridge.start({ off: isOff && before?.config.startType === config.startType });
    if (wasStarted) bridge.startByHand();
  }

  /** Ends a connection; its queue stays in the store. False if there is none. */
  remove(name: string): boolean {
    const bridge = this.byName.get(name);
    if (!bridge) return false;
    this.end(bridge);
    this.leaveUnconfigured();
    return true;
  }

  private end(bridge: BridgeConnection): void {
    this.byName.delete(bridge.name);
    bridge.unsubscribe();
    bridge.close();
  }

  /** Sessions of connections that are not configured, with their queues: nothing more comes into those. */
  leaveUnconfigured(): readonly Session[] {
    const { sessions } = this.context.broker;
    const left = [...sessions.all()].filter(({ kind, identity }) => kind === "bridge" && !this.byName.has(identity.id));
    for (const entry of left) endQueueing(sessions, entry);
    return left.map(({ session }) => session);
  }

  closeAll(): void {
    for (const bridge of this.byName.values()) bridge.close();
    this.byName.clear();
  }
}
