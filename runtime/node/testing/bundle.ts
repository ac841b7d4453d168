/** Hand-made bundles for tests of the runtime: a plan, C kernels, weights. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { addon } from "../addon.js";
import { machine } from "../device.js";

export interface BundleParts {
  /** plan.json. */
  readonly plan: Readonly<Record<string, unknown>> & {
    readonly entries: readonly { readonly name: string; readonly [key: string]: unknown }[];
    readonly targets: object;
  };
  /** C of the CPU's kernels; compiled to kernels/cpu.portable.so. */
  readonly cpu?: string;
  /** PTX files below kernels/. */
  readonly ptx?: Readonly<Record<string, string>>;
  readonly weights?: readonly TensorPart[];
  /** Other manifest keys. */
  readonly manifest?: object;
}

export interface TensorPart {
  readonly name: string;
  /** safetensors' spelling. */
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: ArrayBufferView;
}

/** Why the runtime cannot be tested here, or null. */
export const missingAddon: string | null = ((): string | null => {
  try {
    addon();
    return null;
  } catch (error) {
    return (error as Error).message;
  }
})();

const sha256 = (data: string | Uint8Array): string =>
  createHash("sha256").update(data).digest("hex");

export function compileC(source: string, output: string): void {
  mkdirSync(dirname(output), { recursive: true });
  execFileSync(
    "cc",
    ["-std=c11", "-O2", "-fPIC", "-shared", "-Wl,--build-id=none", "-x", "c", "-", "-o", output],
    { input: source },
  );
}

export function safetensors(tensors: readonly TensorPart[]): Uint8Array {
  let at = 0;
  const header: Record<string, object> = {};
  for (const { name, dtype, shape, data } of tensors) {
    header[name] = { dtype, shape, data_offsets: [at, at + data.byteLength] };
    at += data.byteLength;
  }
  const text = Buffer.from(JSON.stringify(header));
  const padded = Buffer.concat([text, Buffer.alloc((8 - (text.length % 8)) % 8, " ")]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  return Buffer.concat([
    length,
    padded,
    ...tensors.map(({ data }) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
  ]);
}

/** Writes manifest.json for what is in `dir`. */
export function writeManifest(dir: string, parts: BundleParts): void {
  const files: Record<string, object> = {};
  for (const entry of readdirSync(dir, { withFileTypes: true, recursive: true })) {
    const path = join(entry.parentPath, entry.name).slice(dir.length + 1);
    if (!entry.isFile() || path === "manifest.json") continue;
    const data = readFileSync(join(dir, path));
    files[path] = path.endsWith(".safetensors")
      ? { bytes: data.length, chunks: chunkHashes(data) }
      : { bytes: data.length, sha256: sha256(data) };
  }
  const manifest = {
    format: 1,
    farrier: "0.0.0-test",
    entries: parts.plan.entries.map((entry) => entry.name),
    targets: Object.keys(parts.plan.targets),
    native: parts.cpu !== undefined,
    ...(parts.cpu === undefined ? {} : { machine: machine() }),
    files,
    ...parts.manifest,
  };
  writeFileSync(join(dir, "manifest.json"), JSON.stringify(manifest));
}

function chunkHashes(data: Uint8Array): string[] {
  const chunk = 64 * 1024 * 1024;
  const out: string[] = [];
  for (let at = 0; at < data.length; at += chunk) out.push(sha256(data.subarray(at, at + chunk)));
  return out;
}

/** Writes a bundle to `dir`, which is emptied first. */
export function writeBundle(dir: string, parts: BundleParts): string {
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(join(dir, "kernels"), { recursive: true });
  if (parts.cpu !== undefined) {
    writeFileSync(join(dir, "kernels/k.c"), parts.cpu);
    compileC(parts.cpu, join(dir, "kernels/cpu.portable.so"));
  }
  for (const [name, text] of Object.entries(parts.ptx ?? {}))
    writeFileSync(join(dir, "kernels", name), text);
  if (parts.weights !== undefined)
    writeFileSync(join(dir, "weights.safetensors"), safetensors(parts.weights));
  writeFileSync(join(dir, "plan.json"), JSON.stringify(parts.plan));
  writeManifest(dir, parts);
  return dir;
}
