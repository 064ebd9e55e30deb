export type Level = "C" | "D" | "I" | "A" | "W" | "E" | "S" | "F";

interface MessageTemplate {
  /** The original's number where it has the message; ours begin at 300. */
  readonly id: number;
  readonly level: Level;
  readonly text: string;
}

/** Every console line of the daemon. `{name}` stands for a value. */
export const messages = {
  bridgeBackToPrimary: { id: 0, level: "I", text: "Connection {name} goes back to its first address {address}" },
  invalidPublish: { id: 12, level: "I", text: "Client {client} published to the invalid topic {topic}" },
  internalError: { id: 13, level: "S", text: "Internal error in the connection of {name}, which is closed: {detail}" },
  listening: { id: 14, level: "I", text: "MQTT protocol starting, listening on port {port}" },
  listenerFailed: { id: 15, level: "W", text: "The listener on port {port} could not be started: {reason}" },
  listenerStopped: { id: 16, level: "I", text: "MQTT protocol stopping, listener on port {port}" },
  socketError: { id: 18, level: "W", text: "The connection of client {client} failed: {reason}" },
  badPacket: { id: 19, level: "W", text: "Client {client} broke the protocol and is disconnected: {reason}" },
  badPacketUnknown: { id: 21, level: "W", text: "The connection from {address} broke the protocol before it was logged in and is closed: {reason}" },
  firstPacketNotConnect: { id: 23, level: "W", text: "The first packet from {address} is of type {type}, not CONNECT; the connection is closed" },
  keepAliveExpired: { id: 24, level: "I", text: "Client {client} was silent for one and a half keep alive intervals and is disconnected" },
  connectRefused: { id: 31, level: "W", text: "{client} at {address} is refused: {reason}" },
  unsupportedVersion: { id: 32, level: "W", text: "The connection from {address} asks for protocol level {level}, which is not supported" },
  clientConnecting: { id: 33, level: "I", text: "Connection to listener {port} from client {client} at {address}" },
  duplicateClientId: { id: 34, level: "I", text: "Client {client} connects again; its older connection is ended" },
  clientDisconnect: { id: 38, level: "I", text: "Client {client} has disconnected" },
  uptime: { id: 42, level: "I", text: "The daemon ran for {seconds} seconds" },
  queueFull: { id: 45, level: "W", text: "Queue limit reached for {client}: {dropped} messages discarded so far" },
  stopping: { id: 46, level: "I", text: "The daemon is stopping" },
  stopped: { id: 47, level: "I", text: "The daemon has stopped" },
  configFile: { id: 49, level: "I", text: "Configuration file {file}" },
  commandFile: { id: 68, level: "I", text: "Reading the command file {file}" },
  systemRetained: { id: 65, level: "A", text: "Retained messages of $SYS can't be cleared: {filter}" },
  ackUnknownId: { id: 50, level: "W", text: "Client {client} acknowledged message {id}, which it was not sent or has acknowledged already" },
  version: { id: 53, level: "I", text: "Version {version}, {built}" },
  features: { id: 54, level: "I", text: "Features included: {features}" },
  bridgeDuplicateId: { id: 56, level: "W", text: "Connection {name} has the client identifier {client} of connection {other}: at one remote they would end each other" },
  bridgeDeleted: { id: 57, level: "I", text: "Connection {name} is deleted" },
  noSuchBridge: { id: 59, level: "I", text: "There is no connection {name}" },
  bridgeStopping: { id: 60, level: "I", text: "Connection {name} is being stopped" },
  bridgeCannotStop: { id: 61, level: "W", text: "Connection {name} can't be stopped: it is not running" },
  bridgeStopped: { id: 62, level: "I", text: "Connection {name} is stopped" },
  bridgeIdle: { id: 63, level: "I", text: "Connection {name} has had no traffic and is stopped until messages wait" },
  bridgePlainProtocol: { id: 99, level: "I", text: "Connection {name} tries {address} again with a plainer form of CONNECT" },
  bridgeStarting: { id: 124, level: "I", text: "Connection {name} is being started" },
  bridgeConnecting: { id: 127, level: "I", text: "Connection {name} is being made to {address}" },
  bridgeConnectTimeout: { id: 128, level: "I", text: "Connection {name} got no answer from {address} in time" },
  bridgeConnectFailed: { id: 130, level: "W", text: "Connection {name} can't reach {address}: {reason}" },
  bridgeRefused: { id: 132, level: "W", text: "Connection {name} was refused by {address} with CONNACK code {code}" },
  bridgeEstablished: { id: 133, level: "I", text: "Connection {name} to {address} is established" },
  bridgeUnmatchedIn: { id: 135, level: "W", text: "Connection {name} received topic {topic}, which no in line of it matches; the message is dropped" },
  queueDropped: { id: 64, level: "W", text: "{messages} queued messages of {name} are dropped with it" },
  listenerFull: { id: 141, level: "W", text: "The listener on port {port} has reached its limit of {limit} connections; a client is refused" },
  bridgePingTimeout: { id: 143, level: "I", text: "Connection {name} got no answer to PINGREQ and is closed" },
  publishDenied: { id: 149, level: "A", text: "{client} may not publish to {topic}; the message is dropped" },
  subscribeDenied: { id: 150, level: "A", text: "{client} may not subscribe to {filter}: it may read no topic that this matches" },
  invalidFilter: { id: 153, level: "W", text: "Client {client} asked for the invalid topic filter {filter}: {problem}" },
  bridgeRetry: { id: 154, level: "I", text: "Connection {name} tries again in {seconds} seconds" },
  storeOpened: { id: 300, level: "I", text: "Messages are kept in {directory}" },
  persistenceOff: { id: 301, level: "W", text: "Persistence is off: everything is kept in memory and lost when the daemon stops" },
  storeRepaired: { id: 302, level: "W", text: "The store was damaged and has been repaired: {detail}" },
  storeSetAside: { id: 303, level: "S", text: "The store could not be repaired and has been set aside; the daemon starts with an empty one: {detail}" },
  storeFailed: { id: 304, level: "E", text: "The store can't be written; nothing that needs it is acknowledged until it can: {detail}" },
  storeRecovered: { id: 305, level: "W", text: "The store can be written again: {detail}" },
  storeFull: { id: 306, level: "E", text: "The store's disk is full: {detail}" },
  storeRoomAgain: { id: 307, level: "W", text: "The store's disk has room again: {detail}" },
  recordsLost: { id: 308, level: "S", text: "{messages} stored messages for {client} can't be read any more and are lost" },
  openListener: { id: 309, level: "W", text: "The listener on port {port} can be used by anyone who reaches it" },
  bridgeLost: { id: 310, level: "W", text: "Connection {name} to {address} has ended: {reason}" },
  bridgeSubscribeRefused: { id: 311, level: "W", text: "Connection {name}: the remote refused the subscription to {filter}" },
  bridgeQueueKept: { id: 312, level: "W", text: "There is no connection {name} any more; its {messages} queued messages are kept" },
  accessProblem: { id: 313, level: "W", text: "{problem}" },
  accessRevoked: { id: 314, level: "A", text: "{client} is disconnected: the rules of access have changed" },
  bridgeTopicTooLong: { id: 315, level: "W", text: "Connection {name} can't send {topic}...: with its prefix the topic is longer than MQTT allows; such messages are dropped" },
  bridgePacketTooLarge: { id: 316, level: "W", text: "Connection {name} received a packet of {bytes} bytes, more than max_packet_size; it is acknowledged and dropped" },
  bridgeEcho: { id: 317, level: "W", text: "Connection {name}: the remote sends our messages back; the first was on topic {topic}. Each is dropped" },
  tooManySockets: { id: 318, level: "W", text: "{sockets} connections are open, as many as the limit of open files allows; new ones are refused" },
  commandFileName: { id: 319, level: "W", text: "The command file {file} should be called {name}" },
  commandFailed: { id: 320, level: "W", text: "{place}: {command}: {reason}" },
  commandFileFailed: { id: 321, level: "E", text: "The command file {file} can't be worked on: {reason}" },
  reloaded: { id: 322, level: "I", text: "The configuration has been read again: {what}" },
  reloadFailed: { id: 323, level: "E", text: "The configuration is not changed: {problem}" },
  reloadNeedsRestart: { id: 324, level: "W", text: "A new value of {keyword} is taken up at the next start only" },
  controlFailed: { id: 325, level: "W", text: "amqtdd ctl can't reach this daemon: {reason}" },
  bridgeNotificationRefused: { id: 326, level: "W", text: "Connection {name}: {address} ends connections that publish to $SYS; the connection's state is told here only" },
  subscriptionLimit: { id: 327, level: "W", text: "{client} may not subscribe to {filter}, and from now on to others, without a further line: {limit}" },
  publishNotTaken: { id: 340, level: "W", text: "{connections} connections have published what the store can't take now; it is not acknowledged, and they are closed so that they send it again" },
  storeUnavailable: { id: 341, level: "E", text: "The store can't be opened; until it can, only QoS 0 and what needs no store is served, without bridges: {detail}" },
  storeAvailable: { id: 342, level: "W", text: "The store could be opened; every connection is closed, so that it finds its session" },
  banner: { id: 9999, level: "I", text: "amqtdd, an MQTT daemon for devices" },
} as const satisfies Record<string, MessageTemplate>;

export type MessageKey = keyof typeof messages;

type Placeholders<T extends string> = T extends `${string}{${infer Name}}${infer Rest}` ? Name | Placeholders<Rest> : never;

/** Values a message wants, by the names in its text. */
export type MessageValues<K extends MessageKey> = Readonly<Record<Placeholders<(typeof messages)[K]["text"]>, string | number>>;
