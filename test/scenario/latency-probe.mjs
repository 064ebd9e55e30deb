// A process of its own, so that no load of the test's delays it: publishes to itself with QoS 0 every few milliseconds and tells, phase by phase,
// how long each message took. Messages of the parent: {phase} begins one, {stop} asks for the results.
import net from "node:net";

const [port, intervalMs = "2"] = process.argv.slice(2);
const text = (value) => Buffer.concat([Buffer.from([0, value.length]), Buffer.from(value)]);
const packet = (first, body) => Buffer.concat([Buffer.from([first, body.length]), body]);

const phases = new Map();
let current = [];
let unread = Buffer.alloc(0);

const socket = net.connect({ port: Number(port), host: "127.0.0.1", noDelay: true });
socket.write(packet(0x10, Buffer.concat([text("MQTT"), Buffer.from([4, 2, 0, 0]), text("probe")])));
socket.write(packet(0x82, Buffer.concat([Buffer.from([0, 1]), text("probe"), Buffer.from([0])])));
socket.on("error", () => undefined);
socket.on("data", (bytes) => {
  unread = Buffer.concat([unread, bytes]);
  while (unread.length >= 2 && unread.length >= 2 + unread[1]) {
    if (unread[0] === 0x90) process.send("ready");
    if (unread[0] >> 4 === 3) current.push(performance.now() - unread.readDoubleBE(9));
    unread = unread.subarray(2 + unread[1]);
  }
});

const timer = setInterval(() => {
  const sentMs = Buffer.alloc(8);
  sentMs.writeDoubleBE(performance.now());
  socket.write(packet(0x30, Buffer.concat([text("probe"), sentMs])));
}, Number(intervalMs));

process.on("message", ({ phase, stop }) => {
  if (phase !== undefined) phases.set(phase, (current = []));
  if (!stop) return;
  clearInterval(timer);
  const results = [...phases].map(([name, samples]) => {
    samples.sort((a, b) => a - b);
    const at = (part) => samples[Math.min(samples.length - 1, Math.floor(samples.length * part))] ?? 0;
    return { phase: name, messages: samples.length, medianMs: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
  });
  process.send(results, () => process.exit(0));
});
