import type { TlsMaterial, TlsRemark } from "../tls/material.ts";
import { readMaterial } from "../tls/read-material.ts";
import type { TlsFiles, TlsManner } from "../tls/settings.ts";
import type { Config, ConnectionConfig, ListenerConfig, Place, Problem, TlsPlaces } from "./config.ts";

/** Reads all files of certificates and keys that a configuration names. Notes say until when they are valid. */
export function checkTlsFiles({ listeners, connections }: Pick<Config, "listeners" | "connections">): Problem[] {
  return [...listeners.flatMap(listenerTlsProblems), ...connections.flatMap(connectionTlsProblems)];
}

const listenerTlsProblems = (listener: ListenerConfig): Problem[] => problemsOf(listener.tls, listener.tlsPlaces, listener);

export const connectionTlsProblems = (connection: ConnectionConfig): Problem[] => problemsOf(connection.dial.tls, connection.dial.tlsPlaces, connection);

function problemsOf(settings: (TlsFiles & TlsManner) | undefined, places: TlsPlaces, section: Place): Problem[] {
  if (!settings) return [];
  return readMaterial(settings, Date.now()).remarks.map((remark) => {
    const { file, line, column } = places.get(remark.subject) ?? { ...section, column: 1 };
    return { file, line, column, severity: remark.severity, message: messageOf(remark, settings, places) };
  });
}

/** What should be known of files that can be used: what has expired or soon will. */
export function tlsWarnings(settings: TlsFiles & TlsManner, places: TlsPlaces): string[] {
  const { remarks } = readMaterial(settings, Date.now());
  return remarks.filter(({ severity }) => severity === "warning").map((remark) => messageOf(remark, settings, places));
}

/** What the files of one side hold. @throws Error that names the file that can't be used. */
export function usableMaterial(settings: TlsFiles & TlsManner, places: TlsPlaces): TlsMaterial {
  const { material, remarks } = readMaterial(settings, Date.now());
  const error = remarks.find(({ severity }) => severity === "error");
  if (error) throw new Error(messageOf(error, settings, places));
  return material;
}

function messageOf({ subject, message }: TlsRemark, settings: TlsFiles & TlsManner, places: TlsPlaces): string {
  const value = settings[subject];
  return `${places.get(subject)?.keyword ?? subject}${typeof value === "string" ? ` ${value}` : ""}: ${message}`;
}
