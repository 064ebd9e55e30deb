/** Keywords of the original or of mosquitto whose meaning must not be passed over in silence: they stop the start, even with `--lenient`. */
export const notYetKeywords = [
  { about: "MQTT-SN and multiplexing", names: ["mqtt-multiplex", "mqtts", "multicast_groups", "advertise", "loopback", "max_mqtts_packet_size"] },
  { about: "TLS", names: ["tls_engine", "tls_keyform", "tls_engine_kpass_sha1", "bridge_require_ocsp", "disable_client_cert_date_checks"] },
  { about: "Plugins, with all their `plugin_opt_` and `auth_opt_` keywords", names: ["auth_plugin", "plugin", "global_plugin", "plugin_load", "plugin_use", "auth_plugin_deny_special_chars"] },
  {
    about: "Others",
    names: [
      "bridge_bind_interface", "enable_control_api", "enable_proxy_protocol", "proxy_protocol_v2_require_tls",
      "packet_max_auth", "packet_max_simple", "packet_max_sub", "packet_max_un",
    ],
  },
] as const satisfies readonly { readonly about: string; readonly names: readonly string[] }[];

const all: ReadonlySet<string> = new Set(notYetKeywords.flatMap(({ names }) => names));

const PLUGIN_OPTION = /^(plugin|auth)_opt_/;

export const isNotYet = (name: string): boolean => all.has(name) || PLUGIN_OPTION.test(name);
