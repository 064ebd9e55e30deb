import { expect, it } from "vitest";
import { BridgeFaults } from "./bridge-faults.ts";

const VERSIONS = ["3.1", "3.1.1", "5"];
const FAULTS = Math.floor((process.env["AMQTDD_LONG"] === "1" ? 20_000 : 500) / VERSIONS.length);
const SEED = Number(process.env["AMQTDD_SEED"] ?? 1);

it.each(VERSIONS)(`with MQTT %s, comes back after each of ${FAULTS} faults within max_reconnect_interval, loses nothing and doubles nothing`, { timeout: 600_000 }, async (version) => {
  const stage = new BridgeFaults(SEED, version);
  await stage.start();
  let worstMs = 0;
  for (let count = 0; count < FAULTS && stage.complaints.length === 0; count++) worstMs = Math.max(worstMs, await stage.suffer(stage.pick(stage.names)));
  expect(stage.complaints, `replay it with AMQTDD_SEED=${SEED}`).toEqual([]);
  const { ledger, remoteWatch, localWatch } = stage;
  console.log(
    `${FAULTS} faults, ${Math.round(stage.elapsedMs / 60_000)} minutes of the simulation, ${ledger.size} messages, ` +
      `${remoteWatch.repeated + localWatch.repeated} QoS 1 copies; back after ${worstMs} ms at most`,
  );
});
