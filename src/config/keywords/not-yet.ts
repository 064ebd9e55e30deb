/** Keywords of the original or of mosquitto whose meaning must not be passed over in silence: they stop the start, even with `--lenient`. */
export const notYetKeywords = [
  { about: "MQTT-SN and multiplexing", names: ["mqtt-multiplex", "mqtts", "multicast_groups", "advertise", "loopback", "max_mqtts_packet_size"] },
  { about: "TLS", names: ["tls_engine", "tls_keyform", "tls_engine_kpass_sha1", "bridge_require_ocsp"] },
  {
    about: "Others",
    names: [
      "auth_plugin", "plugin", "bind_interface", "bridge_bind_address", "bridge_bind_interface",
      "local_cleansession",
    ],
  },
] as const satisfies readonly { readonly about: string; readonly names: readonly string[] }[];

const all: ReadonlySet<string> = new Set(notYetKeywords.flatMap(({ names }) => names));

export const isNotYet = (name: string): boolean => all.has(name);
