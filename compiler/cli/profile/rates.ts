/** What a device's memory and arithmetic do at most: what floors are computed for. */
import type { DeviceInfo, Model } from "../../../runtime/node/index.js";

export interface Rates {
  /** Bytes a second, between the device and its memory. */
  readonly bytes: number;
  /** Multiplications and additions a second, by the type of a product's operands. */
  readonly operations: Readonly<Record<string, number>>;
  readonly source: string;
}

const gpu = (terabytes: number, half: number, single: number, source: string): Rates => ({
  bytes: terabytes * 1e12,
  operations: { bf16: half * 1e12, f16: half * 1e12, f32: single * 1e12 },
  source,
});

/**
 * By the driver's name of a GPU. f32 is that of the plain units, which farrier's f32 products use: no
 * TF32. Data sheets: what NVIDIA states, dense, at boost clocks.
 */
const known: Readonly<Record<string, Rates>> = {
  "NVIDIA H200": gpu(
    4.46,
    835,
    66.9,
    "measured: a kernel that reads, cuBLASLt's best; f32 by the data sheet",
  ),
  "NVIDIA H100 80GB HBM3": gpu(3.35, 989, 66.9, "data sheet of the H100 SXM"),
  "NVIDIA A100-SXM4-80GB": gpu(2.039, 312, 19.5, "data sheet of the A100 80GB SXM"),
  "NVIDIA A100-SXM4-40GB": gpu(1.555, 312, 19.5, "data sheet of the A100 40GB SXM"),
  "NVIDIA L40S": gpu(0.864, 362, 91.6, "data sheet of the L40S"),
  "NVIDIA GeForce RTX 4090": gpu(1.008, 165.2, 82.6, "Ada architecture paper, f32 accumulation"),
};

/** What the command line says instead: TB/s and TFLOP/s. */
export interface AskedRates {
  readonly bandwidth?: number;
  readonly tflops?: number;
}

/** The device's: as asked, else of the table, else measured now. */
export async function ratesOf(model: Model, asked: AskedRates): Promise<Rates> {
  const found = await deviceRates(model, asked);
  const operations =
    asked.tflops === undefined ? found.operations : everyType(asked.tflops * 1e12, 1);
  const bytes = asked.bandwidth === undefined ? found.bytes : asked.bandwidth * 1e12;
  const by = asked.bandwidth !== undefined || asked.tflops !== undefined ? "as given" : null;
  const all = asked.bandwidth !== undefined && asked.tflops !== undefined;
  const source = by === null ? found.source : all ? by : `${by}; else ${found.source}`;
  return { bytes, operations, source };
}

async function deviceRates(model: Model, asked: AskedRates): Promise<Rates> {
  const listed = known[model.device.name];
  if (listed !== undefined) return listed;
  if (asked.bandwidth !== undefined && asked.tflops !== undefined)
    return { bytes: 0, operations: {}, source: "" };
  const { bytes, operations } = await model.rates();
  return {
    bytes,
    operations: measured[model.device.type](operations),
    source: probes[model.device.type],
  };
}

/** A CPU multiplies 16-bit values as f32, and half as many f64. */
const measured: Readonly<Record<DeviceInfo["type"], (f32: number) => Rates["operations"]>> = {
  cpu: (f32) => everyType(f32, 0.5),
  // Of a GPU that the table does not have, only memory is measured.
  cuda: () => ({}),
};

const probes: Readonly<Record<DeviceInfo["type"], string>> = {
  cpu: "measured now: reading memory that no cache holds, and f32 in registers, on all threads",
  cuda: "measured now: a copy within the GPU; its arithmetic is not known (--tflops)",
};

const everyType = (f32: number, ofF64: number): Rates["operations"] => ({
  bf16: f32,
  f16: f32,
  f32,
  f64: f32 * ofF64,
});
