import { filtersOverlap } from "../topic/matching.ts";
import { filterProblem, hasWildcard } from "../topic/validity.ts";
import { isLoopback, reaches } from "./address.ts";
import type { AddressConfig, Config, ConnectionConfig, ListenerConfig, Place, Problem, TopicLine } from "./config.ts";
import { interfaceAddresses } from "./interface-addresses.ts";
import type { Report } from "./section.ts";

const MAX_CLIENT_ID_BYTES_31 = 23;

/** What is wrong with a configuration as a whole. Errors stop the start. */
export function checkConfig(config: Config): Problem[] {
  const problems: Problem[] = [];
  const report: Report = ({ file, line }, column, severity, message) => problems.push({ file, line, column, severity, message });
  for (const [index, listener] of config.listeners.entries()) {
    const { port, socketPath, bindInterface } = listener;
    const name = socketPath ?? `port ${port}`;
    const twin = config.listeners.slice(0, index).find((other) => other.port === port && other.socketPath === socketPath && (isAtSameAddress(other, listener) || isEverywhere(other) || isEverywhere(listener)));
    if (twin) report(listener, 1, "error", `the listener on ${name} is defined twice${isAtSameAddress(twin, listener) ? "" : ": one of the two takes all addresses"}`);
    if (hasWildcard(listener.mountPoint) || filterProblem(`${listener.mountPoint}#`) !== undefined) {
      report(listener, 1, "error", `mount_point ${listener.mountPoint}: it must end in / and contain no wildcard, or its clients could not subscribe to #`);
    }
    for (const [keyword, isGiven] of [["http_dir", listener.httpDirectory !== undefined], ["websockets_origin", listener.webSocketOrigins.length > 0]] as const) {
      if (isGiven && listener.protocol === "mqtt") report(listener, 1, "warning", `${keyword} has no meaning on the listener on ${name}: its protocol is not websockets or auto`);
    }
    if (bindInterface !== undefined && socketPath !== undefined) report(listener, 1, "warning", `bind_interface has no meaning on the listener on ${name}: it is a Unix socket`);
    if ((listener.allowAnonymous ?? config.access.allowAnonymous) && socketPath === undefined && !isOnLoopback(listener) && !isClosedByTls(listener)) report(listener, 1, "warning", `the listener on port ${port} can be used by anyone who reaches it`);
  }
  const names = new Set<string>();
  for (const connection of config.connections) {
    if (names.has(connection.name)) report(connection, 1, "error", `connection ${connection.name} is defined twice`);
    names.add(connection.name);
    checkConnection(connection, report);
    checkAddresses(connection, config.listeners, report);
  }
  checkClientIds(config.connections, report);
  warnOfLoopsBetween(config.connections, report);
  return problems;
}

const isAtSameAddress = (a: ListenerConfig, b: ListenerConfig): boolean => a.host === b.host && a.bindInterface === b.bindInterface;

/** Nobody reaches it from another machine. */
function isOnLoopback({ host, bindInterface }: ListenerConfig): boolean {
  if (bindInterface === undefined || isLoopback(host)) return isLoopback(host);
  const addresses = interfaceAddresses(bindInterface);
  return addresses.length > 0 && addresses.every(isLoopback);
}

/** Nobody comes in without a certificate or a key. */
const isClosedByTls = ({ tls }: ListenerConfig): boolean => tls !== undefined && (tls.requireCertificate || (tls.usesPsk && tls.certFile === undefined));

function checkConnection(connection: ConnectionConfig, report: Report): void {
  const { name, addresses, clientId, dial } = connection;
  const { tls, tlsPlaces } = dial;
  if (tls?.insecure) report(connection, 1, "warning", `connection ${name}: bridge_insecure: whoever has a certificate of a CA that is trusted can answer for the remote`);
  const plainPort = addresses.find(({ scheme, port }) => scheme === "mqtts" && port === 1883);
  if (plainPort) {
    const at = tlsPlaces.get("caFile") ?? connection;
    report(at, 1, "warning", `connection ${name}: TLS is spoken to ${plainPort.host} port 1883, which is usually without; mqtts://${plainPort.host} means port 8883`);
  }
  if (addresses.length === 0) report(connection, 1, "error", `connection ${name} has no address`);
  if (name === "" || clientId === "") report(connection, 1, "error", `a connection's ${name === "" ? "name" : "clientid"} must not be empty`);
  if (connection.topics.length === 0) report(connection, 1, "warning", `connection ${name} has no topic line: it carries nothing`);
  if (hasWildcard(connection.notificationTopic ?? "")) report(connection, 1, "error", `notification_topic ${connection.notificationTopic ?? ""}: a topic to publish to must not contain + or #`);
  if (connection.password !== undefined && connection.username === undefined) {
    report(connection, 1, "warning", `connection ${name} has a password and no username: it is not sent`);
  }
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
    if (hasWildcard(topic.localPrefix) || hasWildcard(topic.remotePrefix)) {
      report(topic, topic.column, "error", "a prefix must not contain + or #: it stands in names to publish to");
      continue;
    }
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
    const { name, clientId } = connection;
    if (clientId === undefined) continue;
    for (const earlier of connections.slice(0, index)) {
      const shared = sharedAddress(connection, earlier);
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

/** What one connection takes in from a remote may go back to it by another: no broker can tell that it is the same message. */
function warnOfLoopsBetween(connections: readonly ConnectionConfig[], report: Report): void {
  for (const one of connections) {
    for (const other of connections) {
      if (one === other || !sharedAddress(one, other)) continue;
      for (const incoming of one.topics) {
        for (const outgoing of other.topics) {
          if (incoming.direction === "out" || outgoing.direction === "in") continue;
          if (!filtersOverlap(localFilter(incoming), localFilter(outgoing)) || !filtersOverlap(remoteFilter(incoming), remoteFilter(outgoing))) continue;
          report(outgoing, 1, "warning", `what connection ${one.name} takes in by ${lineOf(incoming, outgoing)} goes back to the same remote by connection ${other.name}, and round for ever`);
        }
      }
    }
  }
}

function sharedAddress(one: ConnectionConfig, other: ConnectionConfig): AddressConfig | undefined {
  return one.addresses.find(({ host, port }) => other.addresses.some((address) => address.port === port && address.host.toLowerCase() === host.toLowerCase()));
}

const isEverywhere = ({ host, bindInterface }: ListenerConfig): boolean => bindInterface === undefined && (host === undefined || host === "::" || host === "0.0.0.0");

/** A line as it is named in a problem that stands at `at`. */
const lineOf = ({ file, line }: Place, at: Place): string => (file === at.file ? `line ${line}` : `${file}:${line}`);
