/** The GPU's side of the runtime, on a stand-in for the driver: see testing/mock-cuda.c. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { devices, type FarrierRuntimeError, load, Tensor, type Model } from "./index.js";
import { compileC, missingAddon, writeBundle, type BundleParts } from "./testing/bundle.js";
import { scaleBundle } from "./testing/scale.js";

const root = mkdtempSync(join(tmpdir(), "farrier-cuda-"));
const log = join(root, "log");
const library = join(root, "libmock.so");
let made = 0;
const fresh = (parts: BundleParts = scaleBundle(["cpu", "sm_80"])): string =>
  writeBundle(join(root, `b${made++}`), parts);

beforeAll(() => {
  const source = fileURLToPath(new URL("testing/mock-cuda.c", import.meta.url));
  compileC(readFileSync(source, "utf8"), library);
  process.env["FARRIER_CUDA_LIBRARY"] = library;
  process.env["MOCK_CUDA_LOG"] = log;
});
afterAll(() => rmSync(root, { recursive: true, force: true }));
beforeEach(() => {
  delete process.env["MOCK_CUDA_FAIL"];
  writeFileSync(log, "");
});

/** Calls since the last look, of those names. */
function calls(...names: string[]): string[] {
  const lines = readFileSync(log, "utf8").split("\n");
  writeFileSync(log, "");
  return lines
    .filter((line) => names.some((name) => line.startsWith(`${name} `)))
    .map((line) => line.trim());
}
const count = (lines: readonly string[], name: string): number =>
  lines.filter((line) => line.startsWith(name)).length;

const x23 = new Tensor("f32", [2, 3], new Float32Array([1, 2, 3, 4, 5, 6]));
const y23 = [2.5, 8.5, 18.5, 8.5, 20.5, 36.5];

describe.skipIf(missingAddon !== null)("a bundle on a GPU", () => {
  it("is described", async () => {
    const found = await devices();
    expect(found.devices.map((device) => device.type)).toEqual(["cpu", "cuda"]);
    expect(found.devices[1]).toMatchObject({
      name: "Mock GPU",
      capability: "9.0",
      driver: "12.4",
      sharedOptIn: 232448,
    });
    expect(found.cuda).toBeNull();
    await expect(load(fresh(), { device: "cuda:1" })).rejects.toThrow(
      /E_NO_DEVICE: there is no GPU 1/,
    );
    await expect(load(fresh(), { device: "gpu" })).rejects.toThrow(/E_DEVICE_NAME/);
  });

  it("launches what the plan says, with one memset for the status", async () => {
    const model = await load(fresh(), { device: "cuda:0" });
    expect(model.target).toBe("sm_80");
    const both = await load(fresh(scaleBundle(["sm_90", "sm_80"])), { device: "cuda:0" });
    expect(both.target).toBe("sm_90");
    await both.close();
    expect(calls("cuFuncSetAttribute")).toEqual(
      new Array(2).fill("cuFuncSetAttribute add 8=65536"),
    );
    const state = model.createState();
    calls("");
    const { y, count: n } = await model.run({ x: x23 }, { state });
    expect([...(y?.data ?? [])]).toEqual(y23);
    expect(n?.data[0]).toBe(1n);
    const seen = calls("cuLaunchKernel", "cuMemsetD8Async", "cuMemsetD32Async");
    expect(seen).toEqual([
      "cuMemsetD32Async",
      "cuLaunchKernel scale grid=2,1,1 block=128,1,1 shared=0 last=3",
      "cuLaunchKernel add grid=2,1,1 block=128,1,1 shared=65536 last=3",
    ]);
    await model.close();
  });

  it("launches kernels that wait for the one before while that runs, the first one after all", async () => {
    const parts = scaleBundle(["sm_80"]);
    const plan = structuredClone(parts.plan) as {
      targets: { sm_80: { kernels: { dependent?: boolean }[] } };
    };
    for (const kernel of plan.targets.sm_80.kernels) kernel.dependent = true;
    const bundle = fresh({ ...parts, plan: { ...parts.plan, ...plan } });
    const launches = async (graph: boolean): Promise<string[]> => {
      const model = await load(bundle, { device: "cuda" });
      const state = model.createState();
      calls("");
      const { y } = await model.run({ x: x23 }, { state, graph });
      expect([...(y?.data ?? [])]).toEqual(y23);
      await model.close();
      return calls("cuLaunchKernel", "cuLaunchKernelEx").map((line) =>
        line.replace(/^(\w+ \w+).*?( dependent)?$/, "$1$2"),
      );
    };
    const expected = ["cuLaunchKernel scale", "cuLaunchKernelEx add dependent"];
    expect(await launches(false)).toEqual(expected);
    expect(await launches(true)).toEqual(expected);
    process.env["FARRIER_DEPENDENT"] = "0";
    expect(await launches(true)).toEqual(["cuLaunchKernel scale", "cuLaunchKernel add"]);
    delete process.env["FARRIER_DEPENDENT"];
  });

  it("keeps buffers by shape, and allocates nothing in a second run", async () => {
    const model = await load(fresh(), { device: "cuda" });
    const state = model.createState();
    await model.run({ x: x23 }, { state });
    calls("");
    await model.run({ x: x23 }, { state });
    expect(calls("cuMemAlloc_v2", "cuMemFree_v2", "cuStreamCreate")).toEqual([]);
    await model.close();
  });

  it("records a graph once, and launches it with new inputs", async () => {
    const model = await load(fresh(), { device: "cuda" });
    const state = model.createState();
    calls("");
    const run = async (x: Tensor): Promise<Record<string, Tensor>> =>
      model.run({ x }, { state, graph: true });
    const first = await run(x23);
    expect([...(first["y"]?.data ?? [])]).toEqual(y23);
    const second = await run(new Tensor("f32", [2, 3], new Float32Array(6)));
    expect([...(second["y"]?.data ?? [])]).toEqual([0.5, 0.5, 0.5, 0.5, 0.5, 0.5]);
    expect(second["count"]?.data[0]).toBe(2n);
    await expect(
      run(new Tensor("f32", [2, 3], new Float32Array([0, 0, 0, -1, 0, 0]))),
    ).rejects.toThrow(/^E_RT_INDEX: input x.*: found -1$/);
    const seen = calls(
      "cuStreamBeginCapture_v2",
      "cuGraphInstantiateWithFlags",
      "cuGraphLaunch",
      "cuLaunchKernel",
      "cuGraphDestroy",
    );
    expect(count(seen, "cuStreamBeginCapture_v2")).toBe(1);
    expect(count(seen, "cuGraphInstantiateWithFlags")).toBe(1);
    expect(count(seen, "cuGraphDestroy")).toBe(1);
    expect(count(seen, "cuGraphLaunch")).toBe(3);
    expect(count(seen, "cuLaunchKernel")).toBe(2);
    // A larger workspace moves it: graphs that hold its address are recorded again.
    await run(new Tensor("f32", [4, 64], new Float32Array(256)));
    expect([...((await run(x23))["y"]?.data ?? [])]).toEqual(y23);
    expect(count(calls("cuStreamBeginCapture_v2"), "cuStream")).toBe(2);
    await model.close();
  });

  it("runs step by step, and reads what each step left", async () => {
    const model = await load(fresh(), { device: "cuda" });
    const state = model.createState();
    const seen: Record<string, readonly number[]> = {};
    await model.trace({ x: x23 }, { state }, (step, read) => {
      if (step === 0) expect(read(2).byteLength).toBeGreaterThanOrEqual(4 * 6);
      if (step === 1) seen["y"] = [...new Float32Array(read(2).buffer)];
      if (step === 1) seen["count"] = [...new BigInt64Array(read(3).buffer)].map(Number);
    });
    expect(seen).toEqual({ y: y23, count: [1] });
    await model.close();
  });

  it("measures copies within the device", async () => {
    const model = await load(fresh(), { device: "cuda" });
    expect((await model.rates()).operations).toBe(0);
    await model.close();
    const pairs = [
      ["cuMemAlloc_v2", "cuMemFree_v2"],
      ["cuStreamCreate", "cuStreamDestroy_v2"],
    ] as const;
    const seen = calls("cuMemcpyDtoDAsync_v2", ...pairs.flat());
    expect(count(seen, "cuMemcpyDtoDAsync_v2")).toBe(2);
    for (const [taken, given] of pairs) expect(count(seen, taken)).toBe(count(seen, given));
  });

  it("times steps by events inside a graph", async () => {
    const model = await load(fresh(), { device: "cuda" });
    const profile = await model.profile({ x: x23 }, { state: model.createState(), repeat: 3 });
    expect(profile.steps).toMatchObject([
      { label: "scale", kernel: "scale", family: "map", ms: 0.25 },
      { label: "add", ms: 0.25 },
    ]);
    const seen = calls(
      "cuEventRecordWithFlags",
      "cuGraphLaunch",
      "cuEventElapsedTime",
      "cuEventCreate",
      "cuEventDestroy_v2",
    );
    expect(profile).toMatchObject({ runMs: 0.25, markMs: 0.25 });
    // Of two steps: two around the whole, one before each step and two after the last.
    expect(count(seen, "cuEventRecordWithFlags")).toBe(6);
    expect(count(seen, "cuGraphLaunch")).toBe(6);
    expect(count(seen, "cuEventElapsedTime")).toBe(12);
    expect(count(seen, "cuEventCreate")).toBe(count(seen, "cuEventDestroy_v2"));
    await model.close();
  });

  it("frees all that it took, and leaves the caller's context", async () => {
    const model = await load(fresh(), { device: "cuda" });
    const state = model.createState();
    await model.run({ x: x23 }, { state, graph: true });
    state.close();
    await model.close();
    expect(balance()).toEqual([0, 0, 0, 0, 0, 0]);
  });

  /** Open contexts, pushes, allocations, streams, modules and graphs that are left. */
  function balance(): number[] {
    const seen = readFileSync(log, "utf8")
      .split("\n")
      .map((line) => line.trim());
    const pairs = [
      ["cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease_v2"],
      ["cuCtxPushCurrent_v2", "cuCtxPopCurrent_v2"],
      ["cuMemAlloc_v2", "cuMemFree_v2"],
      ["cuStreamCreate", "cuStreamDestroy_v2"],
      ["cuLibraryLoadData text", "cuLibraryUnload"],
      ["cuGraphInstantiateWithFlags", "cuGraphExecDestroy"],
    ];
    return pairs.map(
      ([open, close]) =>
        seen.filter((line) => line === open).length - seen.filter((line) => line === close).length,
    );
  }
});

/** What a call of the driver that fails comes to, in a process of its own. */
function inject(fail: string, graph = false, bundle?: string): string {
  const script = `
    import { load, Tensor } from "./index.js";
    const x = new Tensor("f32", [1, 2], new Float32Array([1, 2]));
    const tell = (error) => console.log(error.code + "|" + error.exitStatus + "|" + error.message);
    process.env.MOCK_CUDA_FAIL = ${JSON.stringify(fail)};
    try {
      const model = await load(process.env.BUNDLE, { device: "cuda" });
      const state = model.createState();
      await model.run({ x }, { state, graph: ${graph} }).catch(tell);
      delete process.env.MOCK_CUDA_FAIL;
      await model.run({ x }, { state, graph: ${graph} }).then(() => console.log("again"), tell);
      await model.close();
    } catch (error) { tell(error); }
  `;
  const env = { ...process.env, BUNDLE: bundle ?? target };
  const tsx = fileURLToPath(import.meta.resolve("tsx"));
  return execFileSync(process.execPath, ["--import", tsx, "--input-type=module", "-e", script], {
    env,
    encoding: "utf8",
    cwd: fileURLToPath(new URL(".", import.meta.url)),
  });
}
let target = "";

describe.skipIf(missingAddon !== null)("a driver that fails", () => {
  beforeAll(() => {
    target = fresh();
  });
  const lines = (text: string): string[] => text.trim().split("\n");

  it("gives typed errors where a bundle is loaded", () => {
    expect(inject("cuInit:100")).toMatch(/^E_NO_DEVICE\|4\|E_NO_DEVICE: .*does not start/);
    expect(inject("cuDevicePrimaryCtxRetain:2")).toMatch(/^E_RT_OOM\|4\|/);
    expect(inject("cuMemAlloc_v2:2")).toMatch(
      /^E_RT_OOM\|4\|E_RT_OOM: allocating \d+ bytes: .*1000 of 1073741824 bytes are free/,
    );
    expect(inject("cuLibraryLoadData:218")).toMatch(
      /^E_MODULE\|4\|E_MODULE: "kernels\/k.ptx" was refused by the driver:\nptxas: line 3/,
    );
    expect(inject("cuLibraryLoadData:222")).toMatch(
      /^E_TARGET\|3\|E_TARGET: .*needs a newer driver, found one of CUDA 12.4/,
    );
    expect(inject("cuModuleGetFunction:500")).toMatch(/^E_MODULE\|4\|E_MODULE: .*has no kernel/);
    expect(inject("cuMemcpyHtoDAsync_v2:999")).toMatch(/^E_RT_DEVICE\|4\|/);
    expect(inject("cuDeviceGetCount:3")).toMatch(/^E_NO_DEVICE/);
  });

  it("older than libraries, loads modules", () => {
    const old = join(root, "libold.so");
    const source = readFileSync(
      fileURLToPath(new URL("testing/mock-cuda.c", import.meta.url)),
      "utf8",
    );
    compileC(`#define OLD_DRIVER\n${source}`, old);
    process.env["FARRIER_CUDA_LIBRARY"] = old;
    try {
      calls("");
      expect(lines(inject("none:0"))).toEqual(["again"]);
      const seen = calls("cuModuleLoadDataEx", "cuModuleUnload", "cuLibraryLoadData");
      expect(seen).toEqual(["cuModuleLoadDataEx", "cuModuleUnload"]);
      expect(inject("cuModuleLoadDataEx:218")).toMatch(/^E_MODULE\|4\|.*refused/);
    } finally {
      process.env["FARRIER_CUDA_LIBRARY"] = library;
    }
  });

  it("goes on after an error that leaves the context whole", () => {
    expect(lines(inject("cuLaunchKernel:701:2"))).toEqual([
      expect.stringMatching(/^E_LAUNCH\|4\|E_LAUNCH: launching scale/),
      "again",
    ]);
    expect(lines(inject("cuGraphInstantiateWithFlags:2", true))).toEqual([
      expect.stringMatching(/^E_RT_OOM\|4\|/),
      "again",
    ]);
    expect(lines(inject("cuLaunchKernel:1:3", true))).toEqual([
      expect.stringMatching(/^E_RT_DEVICE\|4\|/),
      "again",
    ]);
  });

  it("says at once that a broken context is dead", () => {
    const dead = expect.stringMatching(
      /^E_RT_DEAD\|4\|E_RT_DEAD: GPU 0 failed earlier in this process/,
    ) as unknown;
    expect(lines(inject("cuMemcpyDtoHAsync_v2:700"))).toEqual([
      expect.stringMatching(/^E_LAUNCH\|4\|.*CUDA_ERROR_ILLEGAL_ADDRESS/),
      dead,
    ]);
    expect(lines(inject("cuLaunchKernel:214:2"))).toEqual([
      expect.stringMatching(/^E_DEVICE_LOST\|4\|.*dmesg/),
      dead,
    ]);
    expect(lines(inject("cuGraphLaunch:719", true))).toEqual([
      expect.stringMatching(/^E_LAUNCH\|4\|/),
      dead,
    ]);
  });

  it("survives a failure of any one call", { timeout: 300_000 }, () => {
    const names = [
      "cuCtxPushCurrent_v2",
      "cuMemAlloc_v2",
      "cuMemcpyHtoDAsync_v2",
      "cuMemcpyDtoHAsync_v2",
      "cuMemsetD8Async",
      "cuStreamCreate",
      "cuFuncGetAttribute",
      "cuFuncSetAttribute",
      "cuStreamBeginCapture_v2",
      "cuStreamEndCapture",
    ];
    for (const name of names)
      expect(inject(`${name}:999`, true), name).toMatch(/^E_RT_DEVICE\|4\|/);
  });

  it("is told apart from no driver, and from a bundle without code for the GPU (row 105)", async () => {
    const only = fresh(scaleBundle(["cpu"]));
    expect(inject("none:0", false, only)).toMatch(
      /^E_TARGET\|3\|E_TARGET: .*compiled for cpu, this GPU has compute capability 9.0/,
    );
    const env = { ...process.env, FARRIER_CUDA_LIBRARY: join(root, "absent.so") };
    const script = `import { devices } from "./index.js"; console.log((await devices()).cuda)`;
    const tsx = fileURLToPath(import.meta.resolve("tsx"));
    const said = execFileSync(
      process.execPath,
      ["--import", tsx, "--input-type=module", "-e", script],
      { env, encoding: "utf8", cwd: fileURLToPath(new URL(".", import.meta.url)) },
    );
    expect(said).toMatch(/^E_NO_DEVICE: no NVIDIA driver: .*absent.so.*--device cpu/);
    expect(existsSync(log)).toBe(true);
  });

  it("checks launches before the driver sees them (row 107)", async () => {
    const parts = scaleBundle(["sm_80"]);
    const changed = (from: string, to: string): BundleParts => {
      const text = JSON.stringify(parts.plan);
      expect(text).toContain(from);
      return { ...parts, plan: JSON.parse(text.replace(from, to)) as BundleParts["plan"] };
    };
    const loads = (p: BundleParts): Promise<Model> => load(fresh(p), { device: "cuda" });
    await expect(loads(changed('"sharedBytes":65536', '"sharedBytes":262144'))).rejects.toThrow(
      /^E_LAUNCH_DECL: "add" wants 262144 bytes of shared memory, this GPU's blocks have 232448/,
    );
    await expect(loads(changed('"threads":128', '"threads":2048'))).rejects.toThrow(
      /^E_PLAN: .*1 to 1024/,
    );
    await expect(loads(changed('"scalars":[4]', '"scalars":[4,4]'))).rejects.toThrow(
      /^E_LAUNCH_DECL: twice: 5 arguments for a kernel with 4 parameters/,
    );
    const runs = async (grid: string): Promise<unknown> => {
      const model = await loads(changed('"grid":["batch",1,1]', `"grid":${grid}`));
      return model
        .run({ x: x23 }, { state: model.createState() })
        .then(
          () => "ok",
          (error: FarrierRuntimeError) => error.message,
        )
        .finally(() => model.close());
    };
    expect(await runs('["batch",70000,1]')).toMatch(
      /^E_LAUNCH_DECL: scale: grid dimension 1 is 70000, limit 65535/,
    );
    expect(await runs('["batch",["sub","batch",3],1]')).toMatch(
      /^E_LAUNCH_DECL: scale: grid dimension 1 is -1/,
    );
    expect(await runs('["batch",1,0]')).toBe("ok");
  });
});
