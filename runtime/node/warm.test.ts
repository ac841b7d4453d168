/** Assembled kernels beside a bundle, on a stand-in for the driver: see testing/mock-cuda.c. */
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { load, warm } from "./index.js";
import { compileC, missingAddon, writeBundle } from "./testing/bundle.js";
import { scaleBundle } from "./testing/scale.js";

const root = mkdtempSync(join(tmpdir(), "farrier-warm-"));
const log = join(root, "log");
let made = 0;
let bundle = "";
let directory = "";

beforeAll(() => {
  const source = fileURLToPath(new URL("testing/mock-cuda.c", import.meta.url));
  const library = join(root, "libmock.so");
  compileC(readFileSync(source, "utf8"), library);
  process.env["FARRIER_CUDA_LIBRARY"] = library;
  process.env["MOCK_CUDA_LOG"] = log;
});
afterAll(() => rmSync(root, { recursive: true, force: true }));
beforeEach(() => {
  bundle = writeBundle(join(root, `b${made++}`), scaleBundle(["sm_80"]));
  directory = `${bundle}.warm/sm_90-cuda12.4`;
});
afterEach(() => {
  delete process.env["FARRIER_WARM_DIR"];
  delete process.env["MOCK_CUDA_FAIL"];
});

/** What the driver was given to load, and what the model says about it. */
async function loaded(): Promise<{ given: string[]; notices: readonly string[] }> {
  writeFileSync(log, "");
  const model = await load(bundle, { device: "cuda" });
  const { notices } = model;
  await model.close();
  const given = readFileSync(log, "utf8").match(/(?<=^cuLibraryLoadData )\w+/gm) ?? [];
  return { given, notices };
}

const keptFile = (): string => {
  const [name = ""] = readdirSync(directory);
  return join(directory, name);
};

describe.skipIf(missingAddon !== null)("assembled kernels", () => {
  it("are kept beside the bundle, and loaded from there", async () => {
    expect(await loaded()).toEqual({ given: ["text"], notices: [] });
    const progress: number[] = [];
    const kept = await warm(bundle, { onProgress: (done) => progress.push(done) });
    expect(kept).toEqual({ directory, kernels: 1, made: 1, bytes: 11 });
    expect(await warm(bundle, { device: "cuda:0" })).toMatchObject({ kernels: 1, made: 0 });
    expect(await loaded()).toEqual({ given: ["assembled"], notices: [] });
    expect(progress.length).toBeGreaterThan(0);
  });

  it.each<[string, (file: string) => void]>([
    [
      "changed",
      (file) => writeFileSync(file, readFileSync(file, "latin1").replace("mock", "mick")),
    ],
    ["cut short", (file) => writeFileSync(file, readFileSync(file).subarray(0, 40))],
    ["empty", (file) => writeFileSync(file, "")],
    ["a link", (file) => (rmSync(file), symlinkSync("/etc/passwd", file))],
  ])("that are %s are removed, said, and made again", async (_, damage) => {
    await warm(bundle);
    const file = keptFile();
    damage(file);
    const { given, notices } = await loaded();
    expect(given).toEqual(["text"]);
    expect(notices).toEqual([expect.stringContaining(`${JSON.stringify(file)} is damaged`)]);
    expect(existsSync(file)).toBe(false);
    expect(await warm(bundle)).toMatchObject({ made: 1 });
    expect(await loaded()).toEqual({ given: ["assembled"], notices: [] });
  });

  it("that the driver refuses are removed, those that it has no memory for are not", async () => {
    await warm(bundle);
    process.env["MOCK_CUDA_FAIL"] = "cuLibraryLoadData:2:1";
    await expect(load(bundle, { device: "cuda" })).rejects.toThrow(/^E_RT_OOM: loading/);
    expect(existsSync(keptFile())).toBe(true);
    process.env["MOCK_CUDA_FAIL"] = "cuLibraryLoadData:209:1";
    const { given, notices } = await loaded();
    expect(given).toEqual(["assembled", "text"]);
    expect(notices).toEqual([expect.stringContaining("is not what this driver takes")]);
    expect(readdirSync(directory)).toEqual([]);
  });

  it("are those of the text, wherever bundles keep them", async () => {
    process.env["FARRIER_WARM_DIR"] = join(root, "shared");
    const { directory: shared } = await warm(bundle);
    expect(shared).toBe(join(root, "shared", "sm_90-cuda12.4"));
    const parts = scaleBundle(["sm_80"]);
    writeBundle(bundle, parts);
    expect(await warm(bundle)).toMatchObject({ made: 0 });
    writeBundle(bundle, { ...parts, ptx: { "k.ptx": `${parts.ptx!["k.ptx"]!}// other\n` } });
    expect(await loaded()).toEqual({ given: ["text"], notices: [] });
    expect(await warm(bundle)).toMatchObject({ made: 1 });
    expect(existsSync(`${bundle}.warm`)).toBe(false);
  });

  it("that any user may have written are not used", async () => {
    await warm(bundle);
    chmodSync(directory, 0o777);
    const { given, notices } = await loaded();
    expect(given).toEqual(["text"]);
    expect(notices).toEqual([expect.stringContaining("any user may write to it")]);
    expect(readdirSync(directory)).toHaveLength(1);
  });

  it("say where they cannot be kept, and leave nothing", async () => {
    writeFileSync(join(root, "file"), "");
    process.env["FARRIER_WARM_DIR"] = join(root, "file");
    await expect(warm(bundle)).rejects.toThrow(
      /^E_IO: ".*file.*" cannot be written: .*set FARRIER_WARM_DIR to a directory/,
    );
    process.env["FARRIER_WARM_DIR"] = "/proc/self/warm";
    await expect(warm(bundle)).rejects.toThrow(/^E_IO: /);
  });

  it("are refused with the driver's words, and for a CPU", async () => {
    const parts = scaleBundle(["sm_80"]);
    writeBundle(bundle, { ...parts, ptx: { "k.ptx": "nonsense" } });
    await expect(warm(bundle)).rejects.toThrow(
      /^E_MODULE: .*k.ptx" was refused by the driver:\nptxas: line 3/,
    );
    expect(existsSync(directory)).toBe(false);
    writeBundle(bundle, scaleBundle(["cpu"]));
    await expect(warm(bundle, { device: "cpu" })).rejects.toThrow(/^E_UNSUPPORTED: /);
  });
});
