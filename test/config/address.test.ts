import { expect, it } from "vitest";
import { parseAddress, parseProxy } from "../../src/config/address.ts";

it.each([
  ["broker.example.com", { scheme: "mqtt", host: "broker.example.com", port: 1883, path: "" }],
  ["broker:8883", { scheme: "mqtt", host: "broker", port: 8883, path: "" }],
  ["10.0.0.1:1", { scheme: "mqtt", host: "10.0.0.1", port: 1, path: "" }],
  ["::1", { scheme: "mqtt", host: "::1", port: 1883, path: "" }],
  ["fe80::1:2", { scheme: "mqtt", host: "fe80::1:2", port: 1883, path: "" }],
  ["[fe80::1]", { scheme: "mqtt", host: "fe80::1", port: 1883, path: "" }],
  ["[fe80::1]:65535", { scheme: "mqtt", host: "fe80::1", port: 65535, path: "" }],
  ["", undefined],
  ["broker:", undefined],
  [":1883", undefined],
  ["broker:0", undefined],
  ["broker:65536", undefined],
  ["broker:abc", undefined],
  ["broker:18 83", undefined],
  ["two words", undefined],
  ["[::1]:0", undefined],
  ["[::1", undefined],
  ["::1]", undefined],
  ["[]", undefined],
  ["[]:1883", undefined],
  ["[broker]", undefined],
  ["a:b:c", undefined],
  ["10.0.0.1:1883:1", undefined],
  ["::1::2", undefined],
  ["[fe80::1%eth0]:1883", { scheme: "mqtt", host: "fe80::1%eth0", port: 1883, path: "" }],
  ["::ffff:10.0.0.1", { scheme: "mqtt", host: "::ffff:10.0.0.1", port: 1883, path: "" }],
  ["mqtt://broker", { scheme: "mqtt", host: "broker", port: 1883, path: "" }],
  ["MQTTS://broker/", { scheme: "mqtts", host: "broker", port: 8883, path: "" }],
  ["mqtts://[::1]:1", { scheme: "mqtts", host: "::1", port: 1, path: "" }],
  ["ws://broker", { scheme: "ws", host: "broker", port: 80, path: "/mqtt" }],
  ["ws://broker:9001/", { scheme: "ws", host: "broker", port: 9001, path: "/" }],
  ["wss://broker/a/b?c=d/e", { scheme: "wss", host: "broker", port: 443, path: "/a/b?c=d/e" }],
  ["wss://broker?c=d", { scheme: "wss", host: "broker", port: 443, path: "/?c=d" }],
  ["mqtts://broker/path", undefined],
  ["broker/", undefined],
  ["http://broker", undefined],
  ["constructor://broker", undefined],
  ["mqtts://user:secret@broker", undefined],
  ["mqtts://", undefined],
  ["mqtts://broker:0", undefined],
])("the address %j is %j", (text, address) => expect(parseAddress(text)).toEqual(address));

it("without a scheme is with TLS where the connection says so, on the port of MQTT", () => {
  expect(parseAddress("broker", "mqtts")).toEqual({ scheme: "mqtts", host: "broker", port: 1883, path: "" });
  expect(parseAddress("broker:8883", "mqtts")).toEqual({ scheme: "mqtts", host: "broker", port: 8883, path: "" });
  expect(parseAddress("mqtt://broker", "mqtts")).toEqual({ scheme: "mqtt", host: "broker", port: 1883, path: "" });
});

it.each([
  ["http://proxy:3128", { host: "proxy", port: 3128, credentials: undefined }],
  ["http://u:p@[::1]:80/", { host: "::1", port: 80, credentials: "u:p" }],
  ["http://u:p%40%3A@proxy:80", { host: "proxy", port: 80, credentials: "u:p@:" }],
  ["http://proxy", undefined],
  ["https://proxy:1", undefined],
  ["proxy:1", undefined],
  ["http://u@proxy:1", undefined],
  ["http://u:%@proxy:1", undefined],
  ["http://proxy:1/path", undefined],
])("the proxy %j is %j", (text, proxy) => expect(parseProxy(text)).toEqual(proxy));
