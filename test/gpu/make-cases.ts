/**
 * Writes every kernel case for a GPU machine without Node: `npx tsx test/gpu/make-cases.ts [DIR [FILTER [TARGET [SEED]]]]`
 * makes DIR (default build/gpu-cases) with `cases.json`, `data.bin` and one PTX file per kernel;
 * there, `python3 test/gpu/run_cases.py DIR` runs them, and `suite.py` under each of the sanitizer's tools too.
 */
import { createHash } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as zlib from "node:zlib";
import { byteSize } from "../../compiler/ir/dtype.js";
import { kernelNamePlaceholder, type KernelText } from "../../compiler/kernel/family.js";
import { targetNamed, type Target } from "../../compiler/kernel/target.js";
import { writeElements } from "../../compiler/scalar/elements.js";
import { hostValue, reseed, tensorOf, workspaceBytes, type GpuCase } from "./cases/case.js";
import { casesOf } from "./cases/registry.js";

const [folder = "build/gpu-cases", filter = "", name = "sm_80", seed = "0"] = process.argv.slice(2);
const target = targetNamed(name);
const chunks: Uint8Array[] = [];
let size = 0;

function keep(bytes: Uint8Array): { offset: number; bytes: number } {
  const offset = size;
  const padding = (8 - (bytes.length % 8)) % 8;
  chunks.push(bytes, new Uint8Array(padding));
  size += bytes.length + padding;
  return { offset, bytes: bytes.length };
}

function operandsOf(test: GpuCase): object[] {
  const expected = test.expected();
  return test.desc.operands.map((operand) => {
    const { name, dtype, access } = operand;
    const elements = hostValue(operand.elements, test.symbols);
    const fill = test.inputs[name];
    const values = tensorOf(operand, test);
    const bytes = values === null ? null : writeElements(dtype, values);
    const given =
      fill === undefined || bytes === null
        ? null
        : fill.kind === "hash"
          ? { ...fill, crc32: zlib.crc32(bytes) }
          : { kind: "values", ...keep(bytes) };
    const after =
      access === "read"
        ? null
        : keep(new Uint8Array(Float64Array.from(expected.get(name)!, Number).buffer));
    return {
      name,
      dtype,
      access,
      elements,
      bytes: byteSize(dtype, elements),
      fill: given,
      expected: after,
    };
  });
}

/** Tickets must be zero again after the run; what is left in the partials is nobody's business. */
function workspaceOf(test: GpuCase, kernel: KernelText): object[] {
  const made = workspaceBytes(kernel, test.symbols);
  if (made === null) return [];
  const { partials, tickets } = made;
  const common = { expected: null, access: "readwrite" };
  return [
    {
      ...common,
      name: "partials",
      dtype: "f32",
      elements: partials.length / 4,
      bytes: partials.length,
      fill: null,
      scratch: true,
    },
    {
      ...common,
      name: "tickets",
      dtype: "u32",
      elements: tickets.length / 4,
      bytes: tickets.length,
      fill: { kind: "values", ...keep(tickets) },
    },
  ];
}

function describe(test: GpuCase, on: Target): object {
  const kernel = test.kernel(on);
  if (kernel.launch.kind !== "gpu") throw new Error(`${test.name} is no GPU kernel`);
  const file = `${createHash("sha256").update(kernel.text).digest("hex").slice(0, 16)}.ptx`;
  writeFileSync(join(folder, file), kernel.text);
  return {
    name: test.name,
    file,
    entry: kernelNamePlaceholder,
    grid: kernel.launch.grid.map((extent) => hostValue(extent, test.symbols)),
    threads: kernel.launch.threads,
    sharedBytes: kernel.launch.sharedBytes,
    scalars: kernel.scalars.map((scalar) => hostValue(scalar, test.symbols)),
    operands: [...operandsOf(test), ...workspaceOf(test, kernel)],
    tolerance: test.tolerance,
  };
}

reseed(Number(seed));
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
const cases = casesOf(target)
  .filter(({ test }) => test.name.includes(filter))
  .map(({ test, on }) => describe(test, on));
writeFileSync(
  join(folder, "cases.json"),
  JSON.stringify({ target: target.name, seed: Number(seed), cases }, null, 1),
);
writeFileSync(join(folder, "data.bin"), Buffer.concat(chunks));
process.stdout.write(`${cases.length} cases, ${(size / 1e6).toFixed(1)} MB of data in ${folder}\n`);
