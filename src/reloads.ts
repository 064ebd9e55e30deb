import { Access } from "./access/access.ts";
import { readAccessFiles } from "./config/access-files.ts";
import { isSameConnection } from "./config/added-connection.ts";
import { problemText, type Config, type ConnectionConfig } from "./config/config.ts";
import { restartKeywords } from "./config/restart-keywords.ts";
import { CommandError } from "./control/administration.ts";
import type { Host } from "./host.ts";
import { linkLimitsOf, settingsOf, type Parts } from "./parts.ts";

/** Reads the configuration, password and ACL files again and takes up what has changed, all or nothing. */
export class Reloads {
  /** Connections that a command has deleted: the file does not bring them back before the next start. */
  readonly deleted = new Set<string>();
  private next: Promise<string> | undefined;

  constructor(
    private readonly host: Host,
    private readonly parts: () => Parts,
    /** What else goes by the configuration. */
    private readonly onConfig: (config: Config) => void,
  ) {}

  /** One that has not begun finds all that is there by then: who asks meanwhile gets no other. */
  reload(): Promise<string> {
    const { changes, surroundings } = this.host;
    this.next ??= changes.make(async () => {
      await new Promise<void>((resolve) => surroundings.clock.endOfTurn(resolve)); // signals come one by one
      this.next = undefined;
      return this.readAgain();
    });
    return this.next;
  }

  private async readAgain(): Promise<string> {
    const { host } = this;
    const parts = this.parts();
    parts.broker.retained.saveLazy();
    const read = host.readAgain();
    if (!read) return "there is no configuration file; what was pending is saved";
    const { config, problems } = read;
    if (!config) return this.refuseReload(problems.join("\n"));
    const { rules, problems: accessProblems } = readAccessFiles(config.access);
    const errors = accessProblems.filter(({ severity }) => severity === "error");
    if (errors.length > 0) return this.refuseReload(errors.map(problemText).join("\n"));
    for (const problem of problems) this.host.log.write("accessProblem", { problem });
    const placesBefore = String(parts.listeners.places);
    const listeners = await parts.listeners.prepare(config.listeners).catch((error: unknown) => this.refuseReload(String(error)));
    host.config = config;
    const accessBefore = parts.broker.access;
    const done = this.takeUp(config, new Access(rules, host.surroundings.verifyArgon2id));
    listeners.commit();
    parts.listeners.recheckAccess(accessBefore); // behind the commit: listeners have a say in it
    if (String(parts.listeners.places) !== placesBefore) done.push(`listening on ${parts.listeners.places.join(", ")}`);
    for (const keyword of restartKeywords(host.startedConfig, config)) this.host.log.write("reloadNeedsRestart", { keyword });
    const what = done.length > 0 ? done.join("; ") : "no connection or listener has changed, settings and access rules hold as they are now";
    this.host.log.write("reloaded", { what });
    return what;
  }

  private refuseReload(problem: string): never {
    this.host.log.write("reloadFailed", { problem });
    throw new CommandError(`the configuration is not changed: ${problem}`);
  }

  /** Says what was changed. */
  private takeUp(config: Config, access: Access): string[] {
    const { broker, bridges, settings, linkLimits, store } = this.parts();
    const done: string[] = [];
    Object.assign(settings, settingsOf(config));
    Object.assign(linkLimits, linkLimitsOf(config));
    this.host.log.setLevel(config.logLevel);
    this.onConfig(config);
    broker.access = access;
    if (store.state !== "absent") done.push(...this.changeConnections(config.connections));
    for (const bridge of bridges.all()) bridge.bindRights();
    return done;
  }

  private changeConnections(wanted: readonly ConnectionConfig[]): string[] {
    const { bridges, added } = this.parts();
    const done: string[] = [];
    for (const { name } of [...bridges.all()]) {
      if (added.has(name) || wanted.some((connection) => connection.name === name)) continue;
      bridges.remove(name);
      done.push(`connection ${name} removed, its queue is kept`);
    }
    for (const connection of wanted) {
      const { name } = connection;
      if (this.deleted.has(name)) continue; // by a command, until the next start
      const running = bridges.get(name);
      if (running && isSameConnection(running.config, connection)) continue;
      bridges.replace(connection);
      done.push(`connection ${name} ${running ? "changed" : "added"}`);
    }
    return done;
  }
}
