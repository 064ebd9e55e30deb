// The rooms under src/ and what each may name (rule R1 of the design). Read by eslint.config.js and test/house.test.ts.

/** What a room names itself; it may also use everything that those may use. */
export const arrows = {
  clock: [],
  mqtt: ["clock"],
  topic: ["clock", "mqtt"],
  log: ["clock"],
  tls: [],
  config: ["access", "mqtt", "topic", "log", "tls"],
  access: ["mqtt", "topic", "log"],
  store: ["mqtt", "topic", "clock"],
  queue: ["store"],
  session: ["queue"],
  broker: ["session", "access", "log"],
  link: ["mqtt", "log", "clock", "tls"],
  listener: ["broker", "link", "config"],
  bridge: ["broker", "link", "config"],
  control: ["broker", "config"],
  cli: ["config", "control", "log"],
  web: ["config", "control", "log"],
};

/** Rooms that do no I/O and know no time but the Clock they are handed (rule R2). */
export const coreRooms = ["mqtt", "topic", "access", "queue", "session", "broker", "listener", "bridge"];

/** Every room that `room` may import from, itself included. */
export function allowedRooms(room) {
  const allowed = new Set([room]);
  const visit = (name) => {
    for (const below of arrows[name] ?? []) {
      if (!allowed.has(below)) {
        allowed.add(below);
        visit(below);
      }
    }
  };
  visit(room);
  return allowed;
}

/** The room of a path relative to src/, or undefined for the files in src/ itself. */
export function roomOf(pathInSrc) {
  const parts = pathInSrc.split(/[\\/]/);
  return parts.length > 1 ? parts[0] : undefined;
}
