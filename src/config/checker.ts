import { filtersOverlap } from "../topic/matching.ts";
import { filterProblem } from "../topic/validity.ts";
import { isLoopback, reaches } from "./address.ts";
import type { Config, ConnectionConfig, ListenerConfig, Place, Problem, TopicLine } from "./config.ts";
import type { Report } from "./section.ts";

const MAX_CLIENT_ID_BYTES_31 = 23;

/** What is wrong with a configuration as a whole. Errors stop the start. */
export function checkConfig(config: Config): Problem[] {
  const problems: Problem[] = [];
  const report: Report = ({ file, line }, column, severity, message) => problems.push({ file, line, column, severity, message });
  const ports = new Set<string>();
  for (const listener of config.listeners) {
    const { host, port } = listener;
    const key = `${host ?? "*"}:${port}`;
    if (ports.has(key)) report(listener, 1, "error", `the listener on port ${port} is defined twice`);
    ports.add(key);
    if (config.access.allowAnonymous && !isLoopback(host)) report(listener, 1, "warning", `the listener on port ${port} can be used by anyone who reaches it`);
  }
  const names = new Set<string>();
  for (const connection of config.connections) {
    if (names.has(connection.name)) report(connection, 1, "error", `connection ${connection.name} is defined twice`);
    names.add(connection.name);
    checkConnection(connection, report);
    checkAddresses(connection, config.listeners, report);
  }
  checkClientIds(config.connections, report);
  return problems;
}

function checkConnection(connection: ConnectionConfig, report: Report): void {
  const { name, addresses, clientId } = connection;
  if (addresses.length === 0) report(connection, 1, "error", `connection ${name} has no address`);
  if (connection.username !== undefined && connection.password === undefined) {
    report(connection, 1, "warning", `connection ${name} has a username and no password: some brokers refuse that`);
  }
  if (clientId !== undefined && Buffer.byteLength(clientId) > MAX_CLIENT_ID_BYTES_31) {
    report(connection, 1, "warning", `clientid ${clientId} is longer than ${MAX_CLIENT_ID_BYTES_31} bytes: brokers that speak only MQTT 3.1 refuse it`);
  }
  if (!connection.cleanSession && addresses.length > 1) {
    report(connection, 1, "warning", `connection ${name} has cleansession false and several addresses: that is right only if they share their sessions`);
  }
  for (const topic of connection.topics) {
    for (const filter of filtersOf(topic)) {
      const problem = filterProblem(filter);
      if (problem !== undefined) {
        report(topic, topic.column, "error", `topic filter ${filter}: ${problem}`);
        break;
      }
    }
  }
  warnOfOverlaps(connection, report);
  warnOfLoops(connection, report);
}

/** A connection to one of our own listeners hands every message back to us. */
function checkAddresses(connection: ConnectionConfig, listeners: readonly ListenerConfig[], report: Report): void {
  for (const address of connection.addresses) {
    const own = listeners.find((listener) => reaches(address, listener));
    if (own) report(connection, 1, "error", `connection ${connection.name} is a bridge to ourselves: its address ${address.host} port ${address.port} is our listener on port ${own.port}`);
  }
}

/** A remote ends the older of two connections with one client identifier [MQTT-3.1.4-2]: they would take turns for ever. */
function checkClientIds(connections: readonly ConnectionConfig[], report: Report): void {
  for (const [index, connection] of connections.entries()) {
    const { name, clientId, addresses } = connection;
    if (clientId === undefined) continue;
    for (const earlier of connections.slice(0, index)) {
      const shared = addresses.find(({ host, port }) => earlier.addresses.some((other) => other.port === port && other.host.toLowerCase() === host.toLowerCase()));
      if (earlier.clientId !== clientId || !shared) continue;
      report(connection, 1, "error", `connections ${earlier.name} and ${name} have clientid ${clientId} at the same address, ${shared.host} port ${shared.port}: each would end the other`);
    }
  }
}

const localFilter = ({ localPrefix, pattern }: TopicLine): string => localPrefix + pattern;
const remoteFilter = ({ remotePrefix, pattern }: TopicLine): string => remotePrefix + pattern;

function filtersOf(topic: TopicLine): string[] {
  return [...(topic.direction === "in" ? [] : [localFilter(topic)]), ...(topic.direction === "out" ? [] : [remoteFilter(topic)])];
}

/** A message goes by one line only; who writes two that match it may expect two copies. */
function warnOfOverlaps({ topics, name }: ConnectionConfig, report: Report): void {
  for (const [direction, other, filterOf] of [["out", "in", localFilter], ["in", "out", remoteFilter]] as const) {
    const lines = topics.filter((topic) => topic.direction !== other);
    for (const [index, later] of lines.entries()) {
      for (const earlier of lines.slice(0, index)) {
        const [one, two] = [filterOf(earlier), filterOf(later)];
        if (!filtersOverlap(one, two)) continue;
        const used = one === two ? "the first is used" : "the more specific is used";
        report(later, later.column, "warning", `connection ${name}: messages that go ${direction} by ${two} may also match ${one} in ${lineOf(earlier, later)}; ${used}`);
      }
    }
  }
}

/** What comes in on one line and matches an out line goes round if the remote does not know that we are a bridge. */
function warnOfLoops({ topics, name }: ConnectionConfig, report: Report): void {
  for (const incoming of topics) {
    if (incoming.direction === "out") continue;
    for (const outgoing of topics) {
      if (outgoing.direction === "in" || (incoming === outgoing && incoming.direction !== "both")) continue;
      const local = filtersOverlap(localFilter(incoming), localFilter(outgoing));
      const remote = filtersOverlap(remoteFilter(incoming), remoteFilter(outgoing));
      if (local && remote) {
        report(outgoing, 1, "warning", `connection ${name}: what comes in by ${lineOf(incoming, outgoing)} may go out again; a remote that does not know bridges echoes it`);
      }
    }
  }
}

/** A line as it is named in a problem that stands at `at`. */
const lineOf = ({ file, line }: Place, at: Place): string => (file === at.file ? `line ${line}` : `${file}:${line}`);
