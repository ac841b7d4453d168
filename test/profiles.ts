/** A profile of made-up layers, a product and a map each, for tests of what is shown of it. */
import type { OperatorReport } from "../compiler/bundle/report-operators.js";
import type { LaunchProfile, Measured } from "../compiler/cli/profile/measured.js";

const launch = (number: number, of: Partial<LaunchProfile>): LaunchProfile => ({
  ...{ number, family: "map", symbol: "map_1", computes: `add: layers.${number}` },
  ...{ prologue: [], epilogue: [], ms: 0.002, share: 0, floorMs: 0.001, holds: "memory" },
  ...{ read: 4000, written: 460, operations: 0, dtype: null },
  ...of,
});

export function measuredLayers(layers: number): Measured {
  const launches = Array.from({ length: layers }, (_, layer): LaunchProfile[] => [
    launch(2 * layer, {
      ...{ family: "gemm", symbol: "gemm_1", computes: `product: layers.${layer}.up`, ms: 0.006 },
      ...{ prologue: ["RMS norm"], epilogue: ["gelu"], floorMs: 0.003, share: 0.75 / layers },
      ...{ read: 12_000_000, written: 1_380_000, operations: 26_760_000, dtype: "bf16" },
    }),
    launch(2 * layer + 1, { share: 0.25 / layers }),
  ]).flat();
  return {
    ...{ entry: "main", target: "cpu", device: "a device", sizes: { batch: 2 }, context: null },
    ...{ repeat: 5, markMs: 0.0005, runMs: 0.0081 * layers, launchesMs: 0.008 * layers },
    floorMs: 0.004 * layers,
    rates: { bytes: 4.46e12, operations: { bf16: 835e12 }, source: "a table" },
    launches,
  };
}

/** A norm and a product in each layer's first launch, an addition in its second. */
export const operatorsOf = (layers: number): OperatorReport[] =>
  Array.from({ length: layers }, (_, layer): OperatorReport[] => [
    { op: "RMS norm", inputs: layer === 0 ? [] : [3 * layer - 1], launches: [2 * layer] },
    { op: "product", inputs: [3 * layer], launches: [2 * layer] },
    { op: "add", inputs: [3 * layer + 1], launches: [2 * layer + 1] },
  ]).flat();
