import path from "node:path";
import { describe, expect, it } from "vitest";
import { checkConfig } from "../../src/config/checker.ts";
import { type Config, problemText } from "../../src/config/config.ts";
import { defaultConfig } from "../../src/config/default-config.ts";
import type { Keyword } from "../../src/config/keyword.ts";
import { connectionKeywords } from "../../src/config/keywords/connection.ts";
import { globalKeywords } from "../../src/config/keywords/global.ts";
import { listenerKeywords } from "../../src/config/keywords/listener.ts";
import { tlsConnectionKeywords, tlsListenerKeywords } from "../../src/config/keywords/tls.ts";
import { notYetKeywords } from "../../src/config/keywords/not-yet.ts";
import { parseConfig } from "../../src/config/parser.ts";

const problemsOf = (text: string, options = {}): string[] => parseConfig(text, "f", options).problems.map(problemText);

/** The configuration of a file in which nothing is wrong. */
function configOf(text: string, options = {}): Config {
  const { config, problems } = parseConfig(text, "f", options);
  expect(problems.map(problemText)).toEqual([]);
  return config;
}

const CONNECTION = "connection c\naddress h\n";

describe("a bad line", () => {
  it.each([
    // unknown keywords, and the nearest that is known
    ["prot 1883", "f:1:1: error: unknown keyword prot; did you mean port?"],
    ["\n  pasword_file x", "f:2:3: error: unknown keyword pasword_file; did you mean password_file?"],
    ["Max_Conections 5", "f:1:1: error: unknown keyword Max_Conections; did you mean max_connections?"],
    ["conection c", "f:1:1: error: unknown keyword conection; did you mean connection?"],
    ["listner 1883", "f:1:1: error: unknown keyword listner; did you mean listener?"],
    ["xyzzy", "f:1:1: error: unknown keyword xyzzy"],
    ["völlig_anders 1", "f:1:1: error: unknown keyword völlig_anders"],
    [`${CONNECTION}keepalive_intervall 5`, "f:3:1: error: unknown keyword keepalive_intervall; did you mean keepalive_interval?"],
    // keywords in the wrong place
    ["mount_point x/", "f:1:1: error: mount_point belongs into a listener section: the default listener can't have one"],
    [" topic # out", "f:1:2: error: topic belongs into a connection section"],
    ["listener 1884\nclientid x", "f:2:1: error: clientid belongs into a connection section"],
    ["remote_clientid x", "f:1:1: error: remote_clientid belongs into a connection section"],
    [`${CONNECTION}mount_point x/`, "f:3:1: error: mount_point belongs into a listener section: the default listener can't have one"],
    ["retained_persistance true", "f:1:1: error: unknown keyword retained_persistance; did you mean retained_persistence?"],
    ["remote_usrname u", "f:1:1: error: unknown keyword remote_usrname; did you mean remote_username?"],
    // access
    ["allow_anonymous false", "f:1:17: error: allow_anonymous false needs a password_file: without one nobody could connect"],
    ["acl_file a", "f:1:10: error: acl_file needs a password_file; with allow_anonymous true its rules for anonymous clients and client identifiers hold without one"],
    ["acl_style strict", "f:1:11: error: acl_style strict: wanted is one of amqtdd, mosquitto"],
    // what has one meaning here is not passed over when another is asked for
    ["listener 1884\nper_listener_settings true\nlistener 1885", "f:2:23: error: per_listener_settings true is not supported with more than one listener: access rules hold for all"],
    ["memory_limit 5", "f:1:14: error: memory_limit 5: wanted is 0: nothing else is supported yet"],
      ["listener 1884\nmax_qos 3", "f:2:9: error: max_qos 3: wanted is a whole number from 0 to 2"],
      ["accept_protocol_versions 4, 5", "f:1:26: error: accept_protocol_versions 4,: wanted is 3, 4 or 5, several with commas between them"],
      ["listener 1884\nprotocol mqtts", "f:2:10: error: protocol mqtts: wanted is one of mqtt, websockets, auto"],
    ["listener_auto_id_prefix x", "f:1:1: error: listener_auto_id_prefix belongs into a listener section"],
    ["listener_allow_anonymous true", "f:1:1: error: listener_allow_anonymous belongs into a listener section"],
    ["listener 1884\nlistener_allow_anonymous maybe", "f:2:26: error: listener_allow_anonymous maybe: wanted is true or false"],
    ["listener 1884\nlistener_allow_anonymous false", "f:2:26: error: listener_allow_anonymous false needs a password_file, or user names from certificates: without them nobody could connect"],
    ["listener 1884\nsocket_domain ipv5", "f:2:15: error: socket_domain ipv5: wanted is one of ipv4, ipv6"],
    [`${CONNECTION}bridge_protocol_version mqttv6`, "f:3:25: error: bridge_protocol_version mqttv6: wanted is one of mqttv31, mqttv311, mqttv50, 3.1, 3.1.1, 5"],
    [`${CONNECTION}bridge_receive_maximum 0`, "f:3:24: error: bridge_receive_maximum 0: wanted is a whole number from 1 to 65535 (messages)"],
    [`${CONNECTION}bridge_bind_address eth0`, "f:3:21: error: bridge_bind_address eth0: wanted is an IPv4 or IPv6 address of this machine"],
    ["connection c\naddress a 10.0.0.1 [::1]:1 ::2\nbridge_bind_address 10.0.0.2", "f:3:21: error: bridge_bind_address 10.0.0.2: ::1 and ::2 can't be reached from an IPv4 address"],
    ["connection c\naddress ::1\nbridge_proxy http://10.0.0.1:80\nbridge_bind_address ::2", "f:4:21: error: bridge_bind_address ::2: 10.0.0.1 can't be reached from an IPv6 address"],
    ["log_type error loud", "f:1:16: error: log_type loud: wanted is one of none, error, warning, notice, information, subscribe, unsubscribe, websockets, debug, all"],
    ["include_dir", "f:1:1: error: include_dir needs a folder"],
    // values
    ["port", "f:1:1: error: port needs a value: a whole number from 1 to 65535"],
    ["persistence", "f:1:1: error: persistence needs a value: true or false"],
    ["port abc", "f:1:6: error: port abc: wanted is a whole number from 1 to 65535"],
    ["port   0", "f:1:8: error: port 0: wanted is a whole number from 1 to 65535"],
    ["port 65536", "f:1:6: error: port 65536: wanted is a whole number from 1 to 65535"],
    ["port 18.83", "f:1:6: error: port 18.83: wanted is a whole number from 1 to 65535"],
    ['port ""', "f:1:6: error: port : wanted is a whole number from 1 to 65535"],
    ["port 0x75b", "f:1:6: error: port 0x75b: wanted is a whole number from 1 to 65535"],
    ["commit_interval_ms 60001", "f:1:20: error: commit_interval_ms 60001: wanted is a whole number from 0 to 60000 (ms)"],
    ["max_queued_messages -2", "f:1:21: error: max_queued_messages -2: wanted is a whole number (messages), 0 or -1 for no limit"],
    ["max_queued_messages many", "f:1:21: error: max_queued_messages many: wanted is a whole number (messages), 0 or -1 for no limit"],
    ["message_size_limit 1k", "f:1:20: error: message_size_limit 1k: wanted is a whole number (bytes), 0 or -1 for no limit"],
    ["max_connections x", "f:1:17: error: max_connections x: wanted is a whole number, -1 for no limit"],
    ["persistence maybe", "f:1:13: error: persistence maybe: wanted is true or false"],
    ["durability full", "f:1:12: error: durability full: wanted is one of power, process"],
    ["log_level loud", "f:1:11: error: log_level loud: wanted is one of config, detail, info, audit, warning, error, severe, fatal"],
    // sections
    ["listener", "f:1:1: error: listener needs a port"],
    ["listener abc", "f:1:10: error: listener abc: wanted is a port number, or 0 and the path of a Unix socket"],
    ["listener 0", "f:1:10: error: listener 0: wanted is a port number, or 0 and the path of a Unix socket"],
    [`listener 0 /${"x".repeat(107)}`, `f:1:12: error: listener 0 /${"x".repeat(107)}: a Unix socket's path must not be longer than 107 bytes`],
    ["\nlistener 1884 127.0.0.1 mqtts", "f:2:25: error: listener protocol mqtts: wanted is one of mqtt, websockets, auto"],
    ["connection", "f:1:1: error: connection needs a name"],
    ["connection c\naddress h:99999", "f:2:9: error: address h:99999: wanted is host or host:port, behind mqtt://, mqtts://, ws://, wss:// or nothing"],
    ["connection c\naddress good h: good", "f:2:14: error: address h:: wanted is host or host:port, behind mqtt://, mqtts://, ws://, wss:// or nothing"],
    ["connection c\naddress", "f:2:1: error: address needs a value: text"],
    [`${CONNECTION}start_type eager`, "f:3:12: error: start_type eager: wanted is one of automatic, manual, lazy, once"],
    [`${CONNECTION}threshold 0`, "f:3:11: error: threshold 0: wanted is a whole number from 1 to 1000000000"],
    [`${CONNECTION}restart_timeout 5 0`, "f:3:19: error: restart_timeout 0: wanted is a whole number from 1 to 86400 (seconds)"],
    [`${CONNECTION}reconnect_interval 0`, "f:3:20: error: reconnect_interval 0: wanted is a whole number from 1 to 86400 (seconds)"],
    [`${CONNECTION}topic`, "f:3:1: error: topic needs a pattern"],
    [`${CONNECTION}topic a sideways`, "f:3:9: error: topic direction sideways: wanted is one of in, out, both"],
    [`${CONNECTION}topic a out "" "" urgent`, "f:3:19: error: topic priority urgent: wanted is one of high, normal, low"],
  ])("%j: %s", (text, problem) => expect(problemsOf(text)).toEqual([problem]));

  it("does not hide the ones behind it", () => {
    expect(problemsOf("port x\n# fine\n\nlistener y\nfoo_bar_baz 1\n")).toEqual([
      "f:1:6: error: port x: wanted is a whole number from 1 to 65535",
      "f:5:1: error: unknown keyword foo_bar_baz",
      "f:4:10: error: listener y: wanted is a port number, or 0 and the path of a Unix socket",
    ]);
  });

  it("is told by its own number when lines end in CR LF", () => {
    expect(problemsOf("port 1884\r\nport x\r\n")).toEqual(["f:2:6: error: port x: wanted is a whole number from 1 to 65535"]);
  });

  it("of a list is told by its own number, though the list goes on", () => {
    expect(problemsOf("connection c\naddress h:99999\naddress good [::1\n address good\n")).toEqual([
      "f:2:9: error: address h:99999: wanted is host or host:port, behind mqtt://, mqtts://, ws://, wss:// or nothing",
      "f:3:14: error: address [::1: wanted is host or host:port, behind mqtt://, mqtts://, ws://, wss:// or nothing",
    ]);
  });
});

describe("keywords that are not supported yet", () => {
  const notYet = notYetKeywords.flatMap(({ names }): readonly string[] => names);

  it("are known nowhere else", () => {
    const known: readonly Keyword[] = [...globalKeywords, ...listenerKeywords, ...connectionKeywords];
    expect(notYet.filter((word) => known.some(({ name, aliases }) => name === word || aliases.includes(word)))).toEqual([]);
    expect(new Set(notYet).size).toBe(notYet.length);
  });

  it.each(notYet)("%s is told with its place, in every section and with --lenient, too", (word) => {
    for (const options of [{}, { lenient: true }]) {
      expect(problemsOf(`\n  ${word} x`, options)).toEqual([`f:2:3: error: ${word} is not supported yet`]);
      expect(problemsOf(`listener 1884\n${word.toUpperCase()} x`, options)).toEqual([`f:2:1: error: ${word.toUpperCase()} is not supported yet`]);
      expect(problemsOf(`${CONNECTION} ${word}`, options)).toEqual([`f:3:2: error: ${word} is not supported yet`]);
    }
  });
});

describe("options of a plugin", () => {
  it.each(["plugin_opt_ca_file", "auth_opt_host"])("%s are told as the plugin is", (word) => {
    expect(problemsOf(`plugin /x.so\n${word} x`)).toEqual(["f:1:1: error: plugin is not supported yet", `f:2:1: error: ${word} is not supported yet`]);
  });
});

describe("files of mosquitto", () => {
  it.each([
    // TLS that is not asked for
    "listener 2000\nrequire_certificate false\nuse_identity_as_username false",
    `${CONNECTION}bridge_insecure false\nbridge_tls_use_os_certs false`,
    // what has gone, or has no meaning here
    "store_clean_interval 10\nretry_interval not-used",
    `${CONNECTION}bridge_tcp_keepalive 60 10 3\nbridge_tcp_user_timeout 60\nbridge_reload_type immediate\nlocal_cleansession false\nbridge_fatal_sub_errors false`,
    // rules for clients without a user name
    "allow_anonymous true\nacl_file a",
    "per_listener_settings true\nlistener 2000\nallow_anonymous true",
  ])("%j is taken", (text) => expect(problemsOf(text)).toEqual([]));

  it("have older names of keywords", () => {
    const { listeners } = configOf("maximum_qos 1\nlistener 2000\nlistener 2001\nmaximum_qos 0");
    expect(listeners.map(({ maxQoS }) => maxQoS)).toEqual([1, 0]);
  });

  it("name the ciphers of a bridge", () => {
    const { connections } = configOf("connection c\naddress mqtts://h\nbridge_ciphers ECDHE-ECDSA-AES256-GCM-SHA384\nbridge_ciphers_tls1.3 TLS_AES_256_GCM_SHA384");
    expect(connections[0]?.dial.tls).toMatchObject({ ciphers: "ECDHE-ECDSA-AES256-GCM-SHA384", tls13Ciphers: "TLS_AES_256_GCM_SHA384" });
  });
});

describe("--lenient", () => {
  const lenient = (text: string) => parseConfig(text, "f", { lenient: true });

  it("warns of unknown keywords and bad values and goes on with what was there before", () => {
    const { config, problems } = lenient("prot 1\nport 1884\nport x\nconnection c\naddress h\ntopic a up\ntopic b out\nmount_point m/\n");
    expect(problems.map(problemText)).toEqual([
      "f:1:1: warning: unknown keyword prot; did you mean port?; the line is ignored",
      "f:3:6: warning: port x: wanted is a whole number from 1 to 65535; the line is ignored",
      "f:6:9: warning: topic direction up: wanted is one of in, out, both; taken as out",
      "f:8:1: warning: mount_point belongs into a listener section: the default listener can't have one; the line is ignored",
    ]);
    expect(config.listeners.map(({ port }) => port)).toEqual([1884]);
    expect(config.connections.map(({ topics }) => topics.map(({ pattern }) => pattern))).toEqual([["a", "b"]]);
  });

  it("serves everybody, as the original did, when nobody could log in", () => {
    const { config, problems } = lenient("allow_anonymous false");
    expect(problems.map(problemText)).toEqual(["f:1:17: warning: allow_anonymous false needs a password_file: without one nobody could connect"]);
    expect(config.access.allowAnonymous).toBe(true);
  });

  it("takes a listener of an unknown protocol as one of MQTT, and the first of two connections of one name", () => {
    const { config, problems } = lenient("listener 2000 127.0.0.1 mqtt-multiplex\nconnection c\naddress h\nconnection c\naddress i\nidle_timeout 7\ntopic a out\nconnection d\naddress j");
    expect(problems.map(problemText)).toEqual([
      "f:4:1: warning: connection c is defined twice; the second one is ignored",
      "f:1:25: warning: listener protocol mqtt-multiplex: wanted is one of mqtt, websockets, auto; taken as mqtt",
    ]);
    expect(config.listeners.map(({ protocol }) => protocol)).toEqual(["mqtt"]);
    expect(config.connections.map(({ name, addresses, topics }) => [name, addresses[0]?.host, topics.length])).toEqual([["c", "h", 0], ["d", "j", 0]]);
  });

  it.each(["cafile c", "acl_file a", "listener x", "listener 2000\nlistener_allow_anonymous false", "listener 2000 127.0.0.1 mqtts", "connection", "connection c\naddress h:99999"])(
    "does not pass over %j: a broker would be open, or without what it is for", (text) => {
      expect(lenient(text).problems.map(({ severity }) => severity)).toEqual(["error"]);
    },
  );
});

describe("sections", () => {
  it("take the keywords that are theirs, and the global section the others, wherever they stand", () => {
    const config = configOf([
      "max_connections 1", "listener 2000 127.0.0.1 MQTT", "max_connections 2", "mount_point a/", "log_level error",
      "listener 2001", "max_connections 3", "connection one", "address h", "port 3000", "connection two", "address i", "clientid x",
    ].join("\n"));
    expect(config.listeners.map(({ port, host, mountPoint, maxConnections, line }) => [port, host, mountPoint, maxConnections, line])).toEqual([
      [2000, "127.0.0.1", "a/", 2, 2], [2001, undefined, "", 3, 6], [3000, undefined, "", 1, 10],
    ]);
    expect(config.connections.map(({ name, clientId, line }) => [name, clientId, line])).toEqual([["one", undefined, 8], ["two", "x", 11]]);
    expect(config.logLevel).toBe("error");
  });

  it("of listeners stand alone, unless a keyword of the default listener is given; it is opened last", () => {
    const ports = (text: string, options = {}): number[] => configOf(text, options).listeners.map(({ port }) => port);
    expect(ports("")).toEqual([1883]);
    expect(ports("listener 2000")).toEqual([2000]);
    for (const line of ["max_connections 5", "ipv6 false", "bind_interface eth0", "bind_address ::1", "port 1883"]) expect(ports(`${line}\nlistener 2000`)).toEqual([2000, 1883]);
    expect(ports("listener 2000\nport 2001")).toEqual([2000, 2001]);
    expect(ports("port 1884\nlistener 2000", { port: 1999 })).toEqual([2000, 1999]);
  });

  it("of listeners may have an address in either place", () => {
    const hosts = ["listener 2000 INADDR_ANY", "listener 2000 [::1]", "listener 2000\nbind_address 10.0.0.1", "listener 2000 10.0.0.2\nbind_address 10.0.0.1"]
      .map((text) => configOf(text).listeners[0]?.host);
    expect(hosts).toEqual([undefined, "::1", "10.0.0.1", "10.0.0.2"]);
  });
});

describe("a listener", () => {
  it.each([
    ["", undefined], ["socket_domain ipv4", false], ["socket_domain IPV6", true], ["ipv6 false", false], ["ipv6 true\nsocket_domain ipv4", false],
  ])("with %j has ipv6 %s", (lines, ipv6) => expect(configOf(`listener 2000\n${lines}`).listeners[0]?.ipv6).toBe(ipv6));

  it("is at a network interface of its own, which the default listener's is not", () => {
    const places = configOf("bind_interface eth0\nlistener 2000 10.0.0.1\nbind_interface eth1\nlistener 2001").listeners.map(({ port, host, bindInterface }) => [port, host, bindInterface]);
    expect(places).toEqual([[2000, "10.0.0.1", "eth1"], [2001, undefined, undefined], [1883, undefined, "eth0"]]);
  });

  it("gives identifiers that begin as it says, or as auto_id_prefix does; the default listener has the latter", () => {
    const prefixes = (text: string): (string | undefined)[] => configOf(text).listeners.map(({ clientIdPrefix }) => clientIdPrefix);
    expect(prefixes("listener 2000\nlistener_auto_id_prefix own-\nlistener 2001\nauto_id_prefix all-\nport 2002")).toEqual(["own-", "all-", "all-"]);
    expect(prefixes('listener 2000\nlistener_auto_id_prefix ""\nlistener 2001')).toEqual(["", "auto-"]);
  });
});

describe("values", () => {
  it("take the last line, and lists add up", () => {
    const config = configOf("port 1884\nport 1885\nconnection c\naddress a b:1\nADDRESSES [::1]:2 c\nclientid x\nclientid y\n");
    expect(config.listeners[0]?.port).toBe(1885);
    expect(config.connections[0]?.addresses).toMatchObject([{ host: "a", port: 1883 }, { host: "b", port: 1 }, { host: "::1", port: 2 }, { host: "c", port: 1883 }]);
    expect(config.connections[0]?.clientId).toBe("y");
  });

  it("more than a keyword takes are passed over, as the original did, with a warning", () => {
    const { config, problems } = parseConfig("port 1884 1885 # ours", "f");
    expect(config.listeners[0]?.port).toBe(1884);
    expect(problems.map(problemText)).toEqual(["f:1:11: warning: port takes one value; what follows is not looked at (put a value with blanks into quotes)"]);
  });

  it("may be quoted", () => {
    const { connections } = configOf('connection "a b"\naddress "h:1"\nusername "john smith"\npassword "say ""x"""\nclientid ""\ntopic "a b/#" in "" "re mote/"\n');
    expect(connections[0]).toMatchObject({ name: "a b", addresses: [{ host: "h", port: 1 }], username: "john smith", password: 'say "x"', clientId: "" });
    expect(connections[0]?.topics[0]).toMatchObject({ pattern: "a b/#", direction: "in", localPrefix: "", remotePrefix: "re mote/" });
  });

  it.each([["true", true], ["YES", true], ["on", true], ["1", true], ["False", false], ["no", false], ["off", false], ["0", false]])("%s is %s", (word, value) => {
    expect(configOf(`persistence ${word}`).persistence).toBe(value);
  });

  it.each([["0", Infinity], ["-1", Infinity], ["+7", 7], ["007", 7]])("the limit %s is %s", (word, value) => {
    expect(configOf(`max_queued_messages ${word}\nmax_queue_memory ${word}`).limits).toMatchObject({ maxQueuedMessages: value, maxQueueMemoryBytes: value });
  });

  it.each([["0", Infinity], ["-1", Infinity], ["90", 90_000], ["5S", 5_000], ["5min", 300_000], ["2h", 7_200_000], ["3d", 259_200_000], ["1w", 604_800_000]])("the age %s is %s ms", (word, value) => {
    expect(configOf(`max_queued_age ${word}`).limits.maxQueuedAgeMs).toBe(value);
  });

  it.each(["5m", "5y", "-2", "h", "1.5h"])("there is no age %s", (word) => {
    expect(problemsOf(`max_queued_age ${word}`)).toEqual([expect.stringContaining("wanted is a number of seconds, or one with s, min, h, d or w")]);
  });

  it("of a drain are messages and, behind them or by itself, bytes a second", () => {
    const drainOf = (lines: string): unknown => configOf(`connection c\naddress h\n${lines}`).connections[0]?.drain;
    expect(drainOf("drain_rate 500")).toEqual({ messagesPerSecond: 500, bytesPerSecond: Infinity });
    expect(drainOf("drain_rate 500 65536")).toEqual({ messagesPerSecond: 500, bytesPerSecond: 65_536 });
    expect(drainOf("drain_rate_bytes 65536")).toEqual({ messagesPerSecond: Infinity, bytesPerSecond: 65_536 });
  });

  it("of a queue are a connection's own in its section", () => {
    const { limits, connections } = configOf("max_queued_messages 7\nconnection c\naddress h\nmax_queued_messages 9\nmax_queued_bytes 10\nmax_queued_age 1h\nqueue_full block\n");
    expect(limits).toMatchObject({ maxQueuedMessages: 7, maxQueuedBytes: Infinity, queueFull: "drop_newest" });
    expect(connections[0]?.queue).toEqual({ maxQueuedMessages: 9, maxQueuedBytes: 10, maxQueuedAgeMs: 3_600_000, queueFull: "block", queueQoS0: false });
  });

  it.each([["0", 0], ["-5", Infinity], ["12", 12]])("max_connections %s is %s: 0 refuses everybody", (word, value) => {
    expect(configOf(`max_connections ${word}`).listeners[0]?.maxConnections).toBe(value);
  });

  it.each([["0", Infinity], ["-1", Infinity], ["12", 12]])("global_max_connections and global_max_clients %s are %s: 0 is no limit, as in mosquitto", (word, value) => {
    expect(configOf(`global_max_connections ${word}\nlistener 2000\nglobal_max_clients ${word}`).limits).toMatchObject({ maxConnections: value, maxClients: value });
  });

  it("of packet_max_connect are 256 KiB, unless given", () => {
    expect([configOf(""), configOf("packet_max_connect 20")].map(({ limits }) => limits.maxConnectBytes)).toEqual([262_144, 20]);
    expect(problemsOf("packet_max_connect 19")).toEqual(["f:1:20: error: packet_max_connect 19: wanted is a whole number from 20 to 268435455 (bytes)"]);
  });

  it("of a packet's size stay within what MQTT can say", () => {
    expect(configOf("max_packet_size -1").limits.maxPacketSizeBytes).toBe(268_435_460);
  });

  it.each([["0", Infinity], ["-1", Infinity], ["7", 7000]])("autosave_interval %s is %s ms", (word, value) => {
    expect(configOf(`autosave_interval ${word}`).autosaveIntervalMs).toBe(value);
  });

  it("of bridge_bind_address are addresses, of the family of what is dialled, which with a proxy is the proxy", () => {
    const localAddress = (lines: string): unknown => configOf(`connection c\n${lines}`).connections[0]?.dial.localAddress;
    expect(localAddress("address h")).toBeUndefined();
    expect(localAddress("address h 10.0.0.1\nbridge_bind_address 10.0.0.2")).toBe("10.0.0.2");
    expect(localAddress("address [fe80::1%eth0]:1\nbridge_bind_address fe80::2%eth0")).toBe("fe80::2%eth0");
    expect(localAddress("address ::1\nbridge_proxy http://10.0.0.1:80\nbridge_bind_address 10.0.0.2")).toBe("10.0.0.2");
  });

  it("of keepalive_interval are at least 5 seconds", () => {
    const keepAlive = (seconds: number): number | undefined => configOf(`${CONNECTION}keepalive_interval ${seconds}`).connections[0]?.keepAliveMs;
    expect([0, 4, 5, 6].map(keepAlive)).toEqual([5000, 5000, 5000, 6000]);
  });

  it("of cleansession follow the number of addresses, unless given", () => {
    const clean = (text: string): boolean | undefined => configOf(text).connections[0]?.cleanSession;
    expect(clean("connection c\naddress a")).toBe(false);
    expect(clean("connection c\naddress a b")).toBe(true);
    expect(clean("connection c\naddress a b\ncleansession off")).toBe(false);
    expect(clean("connection c\ncleansession on\naddress a")).toBe(true);
  });
});

describe("access", () => {
  const accessOf = (text: string): object => configOf(text).access;

  it("is for everybody, or with a password file for its users alone, unless anonymous clients are allowed", () => {
    expect(accessOf("password_file p")).toMatchObject({ passwordFile: path.resolve("p"), allowAnonymous: false });
    expect(accessOf("password_file p\nallow_anonymous true")).toMatchObject({ allowAnonymous: true });
    expect(accessOf("allow_anonymous false\npassword_file p")).toMatchObject({ allowAnonymous: false });
    expect(accessOf("allow_anonymous true")).toMatchObject({ passwordFile: undefined, allowAnonymous: true });
  });

  it("of a listener is its own where it says so, which may be all that is open", () => {
    const { access, listeners } = configOf("allow_anonymous false\nlistener 2000\nlistener_allow_anonymous true\nlistener 2001");
    expect(access).toMatchObject({ allowAnonymous: false });
    expect(listeners.map(({ allowAnonymous }) => allowAnonymous)).toEqual([true, undefined]);
    expect(configOf("password_file p\nlistener 2000\nlistener_allow_anonymous false").listeners[0]?.allowAnonymous).toBe(false);
    expect(accessOf("acl_file a\nlistener 2000\nlistener_allow_anonymous true")).toMatchObject({ allowAnonymous: true });
    const proven = "listener 2000\ncertfile c\nkeyfile k\ncafile a\nrequire_certificate true\nuse_identity_as_username true\nlistener_allow_anonymous false";
    expect(configOf(proven).listeners[0]?.allowAnonymous).toBe(false);
  });

  it("follows an ACL file, which needs a password file only in our own style", () => {
    expect(accessOf("acl_file a\npassword_file p")).toMatchObject({ aclFile: path.resolve("a"), aclStyle: undefined });
    expect(accessOf("acl_file /a\nacl_style MOSQUITTO")).toMatchObject({ aclFile: "/a", aclStyle: "mosquitto", allowAnonymous: true });
  });

  it("is for client identifiers with one of the beginnings that are given", () => {
    expect(accessOf("clientid_prefixes a- b-\nclientid_prefix c-")).toMatchObject({ clientIdPrefixes: ["a-", "b-", "c-"] });
  });
});

describe("a connection", () => {
  const connectionOf = (...lines: string[]) => configOf(`${CONNECTION}${lines.join("\n")}`).connections[0];

  it.each([["automatic", "automatic"], ["auto", "automatic"], ["Manual", "manual"], ["lazy", "lazy"], ["ONCE", "once"]])("is started as start_type %s says: %s", (word, startType) => {
    expect(connectionOf(`start_type ${word}`)?.startType).toBe(startType);
  });

  it("that is lazy has its thresholds", () => {
    expect(connectionOf("threshold 3", "max_age 7", "idle_timeout 9")).toMatchObject({ threshold: 3, maxAgeMs: 7000, idleTimeoutMs: 9000 });
  });

  it.each([
    ["restart_timeout 5", 5000, undefined],
    ["restart_timeout 5 90", 5000, 90_000],
    ["reconnect_interval 5 90", 5000, 90_000],
    ["restart_timeout 5 90\nmax_reconnect_interval 30", 5000, 30_000],
    ["max_reconnect_interval 30\nrestart_timeout 5 90", 5000, 90_000],
    ["restart_timeout 5 90\nrestart_timeout 6", 6000, 90_000],
  ])("%j waits from %s to %s ms", (line, reconnectIntervalMs, maxReconnectIntervalMs) => {
    expect(connectionOf(line)).toMatchObject({ reconnectIntervalMs, maxReconnectIntervalMs });
  });

  it.each([["mqttv31", 3], ["mqttv311", 4], ["MQTTv311", 4], ["mqttv50", 5], ["3.1", 3], ["3.1.1", 4], ["5", 5]])("with bridge_protocol_version %s speaks level %s first", (word, protocolVersion) => {
    expect(connectionOf(`bridge_protocol_version ${word}`)?.protocolVersion).toBe(protocolVersion);
  });

  it("may keep its state to itself and send nothing retained", () => {
    expect(connectionOf("notifications_local_only true", "bridge_outgoing_retain false")).toMatchObject({ notificationsLocalOnly: true, outgoingRetain: false });
  });
});

describe("the console", () => {
  it.each([
    ["", [{ kind: "stdout" }]],
    ["log_dest stderr", [{ kind: "stderr" }]],
    ["log_dest none", [{ kind: "none" }]],
    ["log_dest file /var/log/x", [{ kind: "file", path: "/var/log/x" }]],
    ["log_dest file x\nlog_dest stdout", [{ kind: "file", path: path.resolve("x") }, { kind: "stdout" }]],
    ["log_dest stdout\nlog_dest file none", [{ kind: "stdout" }, { kind: "file", path: path.resolve("none") }]],
  ])("goes where %j says", (text, destinations) => expect(configOf(text).logDestinations).toEqual(destinations));

  it.each([
    ["log_dest syslog", ["f:1:10: warning: log_dest syslog is not supported; wanted is stdout, stderr, none or file PATH"]],
    ["log_dest stderr\nlog_dest topic\nport 1884", ["f:2:10: warning: log_dest topic is not supported; wanted is stdout, stderr, none or file PATH"]],
    ["log_dest file\nlog_dest stdout", ["f:1:10: warning: log_dest file is not supported; wanted is stdout, stderr, none or file PATH"]],
  ])("does not stop the start for %j, which is told with its place", (text, problems) => {
    expect(problemsOf(text)).toEqual(problems);
    expect(parseConfig(text, "f").config.logDestinations.length).toBe(1);
  });

  it.each([
    ["log_type error", "error"],
    ["log_type error warning", "warning"],
    ["log_type warning\nlog_type ERROR", "warning"],
    ["log_type notice error", "info"],
    ["log_type information", "info"],
    ["log_type none", "fatal"],
    ["log_type none error", "error"],
    ["log_type error subscribe", "config"],
    ["log_type debug", "config"],
    ["log_type all", "config"],
    ["log_type all\nlog_level severe", "severe"],
  ])("of %j has the level %s", (text, level) => expect(configOf(text).logLevel).toBe(level));
});

describe("include_dir", () => {
  const folders: Readonly<Record<string, readonly (readonly [name: string, ...lines: string[]])[]>> = {
    good: [["a.conf", "log_level error", "listener 2000 127.0.0.1"], ["b.conf", "mount_point b/", "connection c", "address h"]],
    bad: [
      ["listener.conf", "# one", "listener abc"],
      ["connection.conf", "", "connection c", "address h:0", "prot 1"],
      ["access.conf", "allow_anonymous false", "acl_file a", "log_dest moon"],
    ],
    checked: [["bridges.conf", "", "connection c", "address a b", "cleansession false", "topic a# in", "", "connection c", "address h", "topic b in"], ["listeners.conf", "", "listener 2001"]],
    topics: [["topics.conf", "", "topic a/+ out"]],
    loop: [["one.conf", "include_dir loop"], ["two.conf", "port 1885"]],
  };
  const include = (folder: string): { file: string; text: string }[] => {
    const files = folders[folder];
    if (!files) throw new Error("no such folder");
    return files.map(([name, ...lines]) => ({ file: `${folder}/${name}`, text: lines.join("\n") }));
  };

  it("reads the files of a folder at its place; a section goes on through them", () => {
    const config = configOf("log_level info\ninclude_dir good\ntopic a/# in", { include });
    expect(config.logLevel).toBe("error");
    expect(config.listeners).toMatchObject([{ port: 2000, mountPoint: "b/", file: "good/a.conf", line: 2 }]);
    expect(config.connections).toMatchObject([{ name: "c", file: "good/b.conf", line: 2, topics: [{ pattern: "a/#", file: "f", line: 3 }] }]);
  });

  it("names the file in which a problem stands, also one that is found after all is read", () => {
    expect(problemsOf("\ninclude_dir bad\nport x\ninclude_dir none", { include }).sort()).toEqual([
      "bad/access.conf:1:17: error: allow_anonymous false needs a password_file: without one nobody could connect",
      "bad/access.conf:2:10: error: acl_file needs a password_file; with allow_anonymous true its rules for anonymous clients and client identifiers hold without one",
      "bad/access.conf:3:10: warning: log_dest moon is not supported; wanted is stdout, stderr, none or file PATH",
      "bad/connection.conf:3:9: error: address h:0: wanted is host or host:port, behind mqtt://, mqtts://, ws://, wss:// or nothing",
      "bad/connection.conf:4:1: error: unknown keyword prot; did you mean port?",
      "bad/listener.conf:2:10: error: listener abc: wanted is a port number, or 0 and the path of a Unix socket",
      "f:3:6: error: port x: wanted is a whole number from 1 to 65535",
      "f:4:13: error: include_dir none: no such folder",
    ]);
  });

  it("names the file in which a problem of the whole stands", () => {
    expect(checkConfig(configOf("include_dir checked", { include })).map(problemText)).toEqual([
      "checked/listeners.conf:2:1: warning: the listener on port 2001 can be used by anyone who reaches it",
      "checked/bridges.conf:2:1: warning: connection c has cleansession false and several addresses: that is right only if they share their sessions",
      "checked/bridges.conf:5:7: error: topic filter a#: '#' must stand alone in the last level: did you mean a/#?",
      "checked/bridges.conf:7:1: error: connection c is defined twice",
    ]);
    expect(checkConfig(configOf(`bind_address ::1\n${CONNECTION}topic a/b out\ninclude_dir topics`, { include })).map(problemText)).toEqual([
      "topics/topics.conf:2:7: warning: connection c: messages that go out by a/+ may also match a/b in f:4; the more specific is used",
    ]);
  });

  it("ends when a file includes its own folder", () => {
    const { config, problems } = parseConfig("include_dir loop", "f", { include });
    expect(problems.map(problemText)).toEqual(["loop/one.conf:1:13: error: include_dir loop: loop/one.conf includes itself"]);
    expect(config.listeners[0]?.port).toBe(1885);
  });
});

describe("topic lines", () => {
  const topicOf = (line: string): object | undefined => configOf(`${CONNECTION}${line}`).connections[0]?.topics[0];
  const plain = { pattern: "a", direction: "out", qos: 2, localPrefix: "", remotePrefix: "", priority: "normal", file: "f", line: 3, column: 7 };

  it.each([
    ["topic a", {}],
    ["TOPIC  a  IN", { direction: "in", column: 8 }],
    ["topic a both 1", { direction: "both", qos: 1 }],
    ["topic a out 0 l/ r/", { qos: 0, localPrefix: "l/", remotePrefix: "r/" }],
    ["topic a out l/ r/ HIGH", { localPrefix: "l/", remotePrefix: "r/", priority: "high" }],
    ['topic a out "" r/ low', { remotePrefix: "r/", priority: "low" }],
    ["topic a out 3 r/", { localPrefix: "3", remotePrefix: "r/" }],
    ["topic # out", { pattern: "#" }],
  ])("%j", (line, fields) => expect(topicOf(line)).toEqual({ ...plain, ...fields }));
});

describe("keywords", () => {
  /** Where it is not any text, nor one of the usual words. */
  const VALUES: Readonly<Record<string, string>> = { trace_output: "protocol", persistent_client_expiration: "14d",
    acl_style: "mosquitto", log_dest: "stderr", log_type: "all", socket_domain: "ipv4", protocol: "mqtt", max_qos: "2", start_type: "lazy",
    bridge_protocol_version: "mqttv31", upgrade_outgoing_qos: "false", bridge_tls_version: "tlsv1.2", bridge_psk: "00",
    bridge_fatal_sub_errors: "false", local_cleansession: "false", bridge_reload_type: "lazy", tls_version: "tlsv1.3", queue_full: "block", bridge_proxy: "http://p:1", bridge_bind_address: "::2", packet_max_connect: "20", max_inflight_bytes: "0", memory_limit: "0", bridge_max_packet_size: "0",
  };
  const sections = [["", globalKeywords], ["listener 2000\n", listenerKeywords], [CONNECTION, connectionKeywords]] as const;

  /** What a keyword of TLS can't be without. */
  const companions = (name: string, section: string): string => {
    if (tlsListenerKeywords.some((keyword) => keyword.name === name)) {
      return `psk_file p\n${section}certfile c\nkeyfile k\ncafile a\n${name === "require_certificate" ? "" : "require_certificate true\n"}`;
    }
    if (name === "bridge_identity") return "connection c\naddress mqtts://h\nbridge_psk 00\n";
    if (name === "bridge_psk") return "connection c\naddress mqtts://h\nbridge_identity i\n";
    if (tlsConnectionKeywords.some((keyword) => keyword.name === name)) return "connection c\naddress mqtts://h\nbridge_certfile c\nbridge_keyfile k\n";
    return name === "acl_file" ? `password_file p\n${section}` : section;
  };

  it("and their synonyms are known in their section, in any case", () => {
    for (const [section, keywords] of sections) {
      for (const { name, aliases, type } of keywords) {
        const value = VALUES[name] ?? ["1", "5", "power", "info", "minimum", "true"].find((text) => typeof type.parse(text) !== "object") ?? expect.fail(name);
        const before = companions(name, section);
        for (const word of [name, name.toUpperCase(), ...aliases]) expect([word, problemsOf(`${before}${word} ${value}`)]).toEqual([word, []]);
      }
    }
  });

  it("have defaults that they would take themselves", () => {
    for (const { name, type, default: value } of [...globalKeywords, ...listenerKeywords, ...connectionKeywords]) {
      if (value === undefined) continue;
      const text = value === Infinity ? "-1" : String(value);
      expect([name, type.parse(text)]).toEqual([name, value]);
    }
  });

  it("mean what their synonyms mean", () => {
    expect(configOf("retained_persistence off").persistence).toBe(false);
    expect(configOf("message_size_limit 99").limits.maxPacketSizeBytes).toBe(99);
    const section = "addresses h\nremote_clientid i\nremote_username u\nremote_password p\nrestart_timeout 7\nmax_reconnect_interval 9\n";
    expect(configOf(`connection c\n${section}`).connections[0]).toMatchObject({
      addresses: [{ host: "h", port: 1883 }], clientId: "i", username: "u", password: "p", reconnectIntervalMs: 7000, maxReconnectIntervalMs: 9000,
    });
  });
});

describe("defaults", () => {
  it("are these", () => {
    expect(configOf("")).toEqual({
      file: "f",
      access: { passwordFile: undefined, allowAnonymous: true, provesUsers: false, aclFile: undefined, aclStyle: undefined, clientIdPrefixes: [] },
      limits: {
        maxInflightMessages: 10,
        maxQueuedMessages: 1000,
        maxQueuedBytes: Infinity,
        maxQueuedAgeMs: Infinity,
        queueFull: "drop_newest",
        queueQoS0: false,
        maxTotalQueuedMessages: Infinity,
        maxTotalQueuedBytes: Infinity,
        blockTimeoutMs: 30_000,
        maxQueueMemoryBytes: 16 * 1024 ** 2,
        maxUncommittedBytes: 8 * 1024 ** 2,
        maxPacketSizeBytes: 1024 ** 2,
        storeMinFreeBytes: 64 * 1024 ** 2,
        maxConnections: Infinity,
        maxClients: Infinity,
        maxConnectBytes: 262_144,
        maxConnectionsPerAddress: Infinity,
        connectTimeoutMs: 10_000,
        maxUnsentBytes: 4 * 1024 ** 2,
      },
      listeners: [{
        port: 1883, host: undefined, bindInterface: undefined, ipv6: undefined, mountPoint: "", maxConnections: Infinity, protocolVersions: [3, 4, 5], maxQoS: 2, maxTopicAlias: 10, maxTopicAliasSent: 65_535, userNameIsClientId: false, clientIdPrefix: "auto-", allowAnonymous: undefined,
        protocol: "mqtt", httpDirectory: undefined, httpPlace: { file: "f", line: 0, column: 1 }, webSocketOrigins: [], maxHttpHeaderBytes: 8192, tls: undefined, tlsPlaces: new Map(), file: "f", line: 0,
      }],
      maxKeepAliveSeconds: Infinity,
      maxSessionExpiryMs: Infinity,
      retainAvailable: true,
      connections: [],
      persistence: true,
      persistenceDirectory: path.resolve("amqtdd-store"),
      persistencePrefix: `${process.cwd()}/`,
      durability: "power",
      commitIntervalMs: 0,
      autosaveIntervalMs: 5000,
      strictStore: false,
      logLevel: "info",
      tracePackets: false,
      remembersPackets: false,
      maxLogEntries: 100,
      maxTraceEntries: 400,
      capturePrefix: `${process.cwd()}/`,
      sessionExpiryMs: Infinity,
      logDestinations: [{ kind: "stdout" }],
      pidFile: undefined,
      allowEmptyClientId: true,
      connectionMessages: true,
      sysIntervalMs: 10_000,
    });
  });

  it("of a connection are these", () => {
    expect(configOf("\nconnection c\naddress h").connections).toEqual([{
      name: "c", addresses: [{ scheme: "mqtt", host: "h", port: 1883, path: "" }], dial: { tls: undefined, tlsPlaces: new Map(), proxy: undefined }, topics: [], clientId: undefined, cleanSession: false, keepAliveMs: 60_000, notifications: true,
      notificationTopic: undefined, username: undefined, password: undefined, tryPrivate: true, roundRobin: false, reconnectIntervalMs: 20_000,
      maxReconnectIntervalMs: undefined, connectTimeoutMs: 30_000, startType: "automatic", threshold: 10, maxAgeMs: 0, idleTimeoutMs: 60_000,
      notificationsLocalOnly: false, protocolVersion: 4, sessionExpirySeconds: 4_294_967_295, receiveMaximum: 1_000, maxTopicAlias: 10, maxSentPacketBytes: Infinity, outgoingRetain: true, file: "f", line: 2,
      queue: { maxQueuedMessages: Infinity, maxQueuedBytes: Infinity, maxQueuedAgeMs: Infinity, queueFull: "drop_oldest", queueQoS0: false },
      drain: { messagesPerSecond: Infinity, bytesPerSecond: Infinity },
    }]);
  });

  it("without a file serve this machine alone", () => {
    const config = defaultConfig();
    expect(config.file).toBeUndefined();
    expect(config.listeners.map(({ host, port }) => [host, port])).toEqual([["127.0.0.1", 1883]]);
    expect(checkConfig(config)).toEqual([]);
    expect(defaultConfig(1999).listeners.map(({ host, port }) => [host, port])).toEqual([["127.0.0.1", 1999]]);
  });

  it("put the store beside the prefix, or into the folder", () => {
    expect(configOf("persistence_location /var/lib/x/").persistenceDirectory).toBe("/var/lib/x/amqtdd-store");
    expect(configOf("persistence_location /var/lib/x").persistenceDirectory).toBe("/var/lib/xamqtdd-store");
  });
});
