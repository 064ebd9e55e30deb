import { filtersOverlap } from "../topic/matching.ts";
import { filterProblem } from "../topic/validity.ts";
import type { Config, ConnectionConfig, Problem, TopicLine } from "./config.ts";

const MAX_CLIENT_ID_BYTES_31 = 23;

/** What is wrong with a configuration as a whole. Errors stop the start. */
export function checkConfig(config: Config): Problem[] {
  const problems: Problem[] = [];
  const report = (severity: Problem["severity"], line: number, message: string, column = 1): void => {
    problems.push({ file: config.file ?? "", line, column, severity, message });
  };
  const ports = new Set<string>();
  for (const { host, port, line } of config.listeners) {
    const key = `${host ?? "*"}:${port}`;
    if (ports.has(key)) report("error", line, `the listener on port ${port} is defined twice`);
    ports.add(key);
    if (!isLoopback(host)) report("warning", line, `the listener on port ${port} can be used by anyone who reaches it`);
  }
  const names = new Set<string>();
  for (const connection of config.connections) {
    if (names.has(connection.name)) report("error", connection.line, `connection ${connection.name} is defined twice`);
    names.add(connection.name);
    checkConnection(connection, report);
  }
  return problems;
}

type Report = (severity: Problem["severity"], line: number, message: string, column?: number) => void;

function checkConnection(connection: ConnectionConfig, report: Report): void {
  const { name, line, addresses, clientId } = connection;
  if (addresses.length === 0) report("error", line, `connection ${name} has no address`);
  if (connection.username !== undefined && connection.password === undefined) {
    report("warning", line, `connection ${name} has a username and no password: some brokers refuse that`);
  }
  if (clientId !== undefined && Buffer.byteLength(clientId) > MAX_CLIENT_ID_BYTES_31) {
    report("warning", line, `clientid ${clientId} is longer than ${MAX_CLIENT_ID_BYTES_31} bytes: brokers that speak only MQTT 3.1 refuse it`);
  }
  if (!connection.cleanSession && addresses.length > 1) {
    report("warning", line, `connection ${name} has cleansession false and several addresses: that is right only if they share their sessions`);
  }
  for (const topic of connection.topics) {
    for (const filter of filtersOf(topic)) {
      const problem = filterProblem(filter);
      if (problem !== undefined) {
        report("error", topic.line, `topic filter ${filter}: ${problem}`, topic.column);
        break;
      }
    }
  }
  warnOfLoops(connection, report);
}

function filtersOf({ direction, localPrefix, remotePrefix, pattern }: TopicLine): string[] {
  return [...(direction === "in" ? [] : [localPrefix + pattern]), ...(direction === "out" ? [] : [remotePrefix + pattern])];
}

/** What comes in on one line and matches an out line goes round if the remote does not know that we are a bridge. */
function warnOfLoops({ topics, name }: ConnectionConfig, report: Report): void {
  for (const incoming of topics) {
    if (incoming.direction === "out") continue;
    for (const outgoing of topics) {
      if (outgoing.direction === "in" || (incoming === outgoing && incoming.direction !== "both")) continue;
      const local = filtersOverlap(incoming.localPrefix + incoming.pattern, outgoing.localPrefix + outgoing.pattern);
      const remote = filtersOverlap(incoming.remotePrefix + incoming.pattern, outgoing.remotePrefix + outgoing.pattern);
      if (local && remote) {
        report("warning", outgoing.line, `connection ${name}: what comes in by line ${incoming.line} may go out again; a remote that does not know bridges echoes it`);
      }
    }
  }
}

function isLoopback(host: string | undefined): boolean {
  return host === "localhost" || host === "::1" || (host?.startsWith("127.") ?? false);
}
