import {
  appendFileSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  readFileSync,
  mkdirSync,
  renameSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { addon } from "./addon.js";
import { FarrierRuntimeError, load, Tensor, type Model } from "./index.js";
import { missingAddon, writeBundle, writeManifest, type BundleParts } from "./testing/bundle.js";
import { scaleBundle } from "./testing/scale.js";

const root = mkdtempSync(join(tmpdir(), "farrier-runtime-"));
let made = 0;
const fresh = (parts: BundleParts = scaleBundle()): string =>
  writeBundle(join(root, `b${made++}`), parts);
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** The error of a promise, which must be typed. */
async function failure(promise: Promise<unknown>): Promise<FarrierRuntimeError> {
  const error: unknown = await promise.then(
    () => new Error("it did not fail"),
    (reason: unknown) => reason,
  );
  if (!(error instanceof FarrierRuntimeError)) throw error;
  expect(error.message.startsWith(`${error.code}: `)).toBe(true);
  return error;
}
const code = async (promise: Promise<unknown>): Promise<string> => (await failure(promise)).code;

const x23 = new Tensor("f32", [2, 3], new Float32Array([1, 2, 3, 4, 5, 6]));

describe.skipIf(missingAddon !== null)("a bundle on the CPU", () => {
  let model: Model;
  beforeAll(async () => {
    model = await load(fresh());
  });
  afterAll(() => model.close());

  it("describes itself", () => {
    expect(model.inputs.map((input) => input.name)).toEqual(["x", "offset"]);
    expect(model.outputs.map((output) => output.name)).toEqual(["y", "count"]);
    expect(model.symbols.map((symbol) => symbol.name)).toEqual(["batch", "seq"]);
    expect(model.target).toBe("cpu");
    expect(model.device).toMatchObject({ type: "cpu", id: 0 });
    expect(model.weightBytes).toBe(16);
  });

  it("runs, with inputs filled, and counts in its state", async () => {
    const state = model.createState();
    const first = await model.run({ x: x23 }, { state });
    expect(first["y"]?.shape).toEqual([2, 3]);
    expect([...(first["y"]?.toFloat64() ?? [])]).toEqual([2.5, 8.5, 18.5, 8.5, 20.5, 36.5]);
    const second = await model.run({ x: x23, offset: [1, 2] }, { state });
    expect([...(second["y"]?.data ?? [])]).toEqual([3, 9, 19, 10, 22, 38]);
    expect(second["count"]?.data[0]).toBe(2n);
    await state.reset();
    expect((await model.run({ x: x23 }, { state }))["count"]?.data[0]).toBe(1n);
    state.close();
    expect(await code(model.run({ x: x23 }, { state }))).toBe("E_RT_HANDLE");
  });

  it("takes nested arrays, typed arrays and other number types", async () => {
    const state = model.createState();
    const run = async (x: Parameters<Model["run"]>[0][string]): Promise<number[]> => [
      ...((await model.run({ x }, { state, outputs: ["y"] }))["y"]?.toFloat64() ?? []),
    ];
    expect(
      await run([
        [1, 2, 3],
        [4, 5, 6],
      ]),
    ).toEqual([2.5, 8.5, 18.5, 8.5, 20.5, 36.5]);
    expect(await run(new Float32Array([1, 2]))).toEqual([2.5, 8.5]);
    expect(await run({ data: new Float64Array([1, 2]), shape: [2, 1] })).toEqual([2.5, 4.5]);
    state.close();
  });

  it("gives the same bits run after run, and when runs are started together", async () => {
    const state = model.createState();
    const x = new Tensor(
      "f32",
      [4, 64],
      Float32Array.from({ length: 256 }, (_, i) => Math.sqrt(i)),
    );
    const runs = await Promise.all(Array.from({ length: 50 }, () => model.run({ x }, { state })));
    const first = Buffer.from(runs[0]?.["y"]?.bytes ?? []);
    for (const { y } of runs) expect(Buffer.from(y?.bytes ?? []).equals(first)).toBe(true);
    state.close();
  });

  it("profiles each step", async () => {
    const state = model.createState();
    const profile = await model.profile({ x: x23 }, { state, repeat: 5 });
    expect(profile.plan).toBe(0);
    expect(profile.workspaceBytes).toBeGreaterThanOrEqual(256);
    expect(profile.steps.map((step) => step.label)).toEqual(["scale", "add"]);
    for (const { ms } of profile.steps) expect(ms).toBeGreaterThanOrEqual(0);
    expect(profile.runMs).toBeGreaterThan(0);
    expect(profile.markMs).toBeGreaterThanOrEqual(0);
    expect(profile.markMs).toBeLessThan(1);
    state.close();
  });

  it("tells of a check that failed while it profiled", async () => {
    const state = model.createState();
    expect((await failure(model.profile({ x: [[-1, 0]] }, { state, repeat: 2 }))).message).toMatch(
      /^E_RT_INDEX: input x/,
    );
    expect((await failure(model.profile({ x: x23 }, { state, repeat: 0 }))).message).toMatch(
      /^E_OPTION: repeats is 0/,
    );
    state.close();
  });

  it("runs step by step, and reads what each step left", async () => {
    const state = model.createState();
    const seen: Record<string, readonly number[]> = {};
    await model.trace({ x: x23 }, { state }, (step, read) => {
      if (step === 0) seen["scaled"] = [...new Float32Array(read(2).buffer)].slice(0, 6);
      if (step === 1) seen["y"] = [...new Float32Array(read(2).buffer)];
      if (step === 1) seen["state"] = [...new BigInt64Array(read(3).buffer)].map(Number);
      if (step === 0) expect(() => read(1)).toThrow(/^E_RT_INPUT: a buffer of kind weight/);
    });
    const { y } = await model.run({ x: x23 }, { state });
    expect(seen["scaled"]).toHaveLength(6);
    expect(seen["y"]).toEqual([...(y?.data ?? [])]);
    expect(seen["state"]).toEqual([1]);
    state.close();
  });

  it("measures what the machine does in a second", async () => {
    const { bytes, operations } = await model.rates();
    expect(bytes).toBeGreaterThan(1e8);
    expect(bytes).toBeLessThan(1e13);
    expect(operations).toBeGreaterThan(1e8);
    expect(operations).toBeLessThan(1e15);
  });

  it("refuses inputs that do not fit (rows 110, 111, 113)", async () => {
    const state = model.createState();
    const run = (inputs: Parameters<Model["run"]>[0]): Promise<string> =>
      failure(model.run(inputs, { state })).then((e) => e.message);
    expect(await run({})).toMatch(/^E_RT_INPUT: input "x" is absent/);
    expect(await run({ x: x23, y: [1] })).toMatch(
      /^E_RT_INPUT: entry "main" has no input "y" \(it has x, offset\)/,
    );
    expect(await run({ x: new Tensor("f32", [1, 2, 3], new Float32Array(6)) })).toMatch(
      /has 3 dimensions, expected 2/,
    );
    expect(
      await run({ x: new Tensor("i64", [1, 1], new BigInt64Array([2n ** 60n])), offset: [[1]] }),
    ).toMatch(/offset" has 2 dimensions/);
    expect(await run({ x: x23, offset: [1, 2, 3] })).toMatch(
      /^E_RT_INPUT: .*batch=3, but another input has batch=2/,
    );
    expect(await run({ x: new Tensor("f32", [1, 65], new Float32Array(65)) })).toMatch(
      /^E_RT_PROFILE: .*seq=65, max 64/,
    );
    expect(await run({ x: new Tensor("f32", [5, 1], new Float32Array(5)) })).toMatch(
      /^E_RT_PROFILE: .*batch=5, max 4/,
    );
    expect(await run({ x: [[1, 2], [3]] })).toMatch(/rectangular/);
    expect(await run({ x: [[-1]] })).toMatch(
      /^E_RT_INDEX: input x: a row begins with a negative number/,
    );
    expect(await code(model.run({ x: x23 }))).toBe("E_RT_STATE");
    expect(await code(model.run({ x: x23 }, { state, entry: "decode" }))).toBe("E_RT_ENTRY");
    expect(await code(model.run({ x: x23 }, { state, outputs: ["z"] }))).toBe("E_RT_INPUT");
    expect(
      await code(
        model
          .run({ x: x23 }, { state, graph: true })
          .then(() => Promise.reject(new FarrierRuntimeError("E_OK", "E_OK: "))),
      ),
    ).toBe("E_OK");
    state.close();
  });

  it("refuses use after close (row 117)", async () => {
    const other = await load(fresh());
    const state = other.createState();
    await other.close();
    await other.close();
    expect(await code(other.run({ x: x23 }, { state }))).toBe("E_RT_HANDLE");
    expect(() => other.createState()).toThrow(/E_RT_HANDLE/);
    state.close();
    expect(() => state.close()).toThrow(/E_RT_HANDLE/);
  });
});

describe.skipIf(missingAddon !== null)("the addon", () => {
  const dl = [2, 32] as const;

  async function bound(): Promise<{
    exec: Parameters<ReturnType<typeof addon>["run"]>[0];
    spec: Parameters<ReturnType<typeof addon>["run"]>[1];
  }> {
    const native = addon();
    const bundle = await native.openBundle(fresh(), 0);
    const device = await native.openDevice(1, 0);
    const weights = await native.bind(bundle, device);
    const exec = native.createExec(weights, "main", native.createState(weights));
    const bytes = 1024;
    const workspace = native.alloc(device, bytes);
    return {
      exec,
      spec: {
        device,
        deviceType: 1,
        deviceId: 0,
        inputs: [
          { data: new Float32Array([1, 2]), dtype: dl, shape: [1, 2] },
          { data: new Float32Array([0]), dtype: dl, shape: [1] },
        ],
        outputs: [
          { data: new Float32Array(2), dtype: dl, shape: [1, 2] },
          { data: new BigInt64Array(1), dtype: [0, 64], shape: [1] },
        ],
        workspace,
        workspaceBytes: bytes,
        stream: 0n,
        uploads: [],
        downloads: [],
      },
    };
  }

  it("runs one exec for one caller at a time (row 116)", async () => {
    const { exec, spec } = await bound();
    const codes = new Set<string>();
    for (let round = 0; round < 200 && !codes.has("E_RT_BUSY"); round++) {
      const results = await Promise.allSettled(
        Array.from({ length: 4 }, () => addon().run(exec, spec, null)),
      );
      for (const result of results)
        codes.add(
          result.status === "fulfilled" ? "ok" : String((result.reason as { code: unknown }).code),
        );
    }
    codes.delete("E_RT_BUSY");
    expect([...codes]).toEqual(["ok"]);
  });

  it("checks buffers: aliases, workspace, null, alignment, device (rows 110, 112)", async () => {
    const { exec, spec } = await bound();
    const run = async (change: Partial<typeof spec>): Promise<string> =>
      addon()
        .run(exec, { ...spec, ...change }, null)
        .then(
          () => "ok",
          (error: Error) => error.message,
        );
    const [x, offset] = spec.inputs as [(typeof spec.inputs)[0], (typeof spec.inputs)[0]];
    const [y, count] = spec.outputs as [(typeof spec.outputs)[0], (typeof spec.outputs)[0]];
    expect(await run({})).toBe("ok");
    expect(await run({ outputs: [{ ...y, data: x.data ?? 0n }, count] })).toMatch(
      /^E_RT_ALIAS: output "y" overlaps input "x"/,
    );
    expect(await run({ workspaceBytes: 8 })).toMatch(/^E_RT_WORKSPACE: the workspace has 8 bytes/);
    expect(await run({ workspace: 0n })).toMatch(/^E_RT_WORKSPACE/);
    expect(await run({ workspace: spec.workspace + 4n })).toMatch(/^E_RT_WORKSPACE: .*not aligned/);
    expect(await run({ inputs: [{ ...x, data: 0n }, offset] })).toMatch(
      /^E_RT_INPUT: input "x" has no data/,
    );
    expect(await run({ inputs: [{ ...x, data: 4098n }, offset] })).toMatch(
      /^E_RT_INPUT: .*not aligned/,
    );
    expect(await run({ deviceType: 2, inputs: [{ ...x, data: 4096n }, offset] })).toMatch(
      /^E_RT_INPUT: .*device type 2/,
    );
    expect(
      await run({ inputs: [{ ...x, dtype: [2, 64], data: new Float64Array(2) }, offset] }),
    ).toMatch(/x" is f64, expected f32/);
    expect(await run({ outputs: [{ ...y, shape: [2, 1] }, count] })).toMatch(
      /^E_RT_INPUT: output "y": dimension 0 is 2, expected 1/,
    );
    expect(await run({ outputs: [y] })).toMatch(/^E_RT_INPUT: .*2 outputs, 1 were given/);
    await expect(addon().capture(exec, spec)).rejects.toMatchObject({
      code: "E_UNSUPPORTED",
      exitStatus: 3,
    });
  });

  it("releases twice with an error, not a crash (row 117)", async () => {
    const native = addon();
    const device = await native.openDevice(1, 0);
    const address = native.alloc(device, 10);
    native.free(device, address);
    expect(() => native.free(device, address)).toThrow(/E_RT_HANDLE/);
    native.release(device);
    expect(() => native.release(device)).toThrow(
      /E_RT_HANDLE: the handle is of no device that is open/,
    );
  });
});

describe.skipIf(missingAddon !== null)("a damaged bundle", () => {
  const opens = (dir: string): Promise<string> =>
    load(dir).then(
      async (model) => {
        await model.close();
        return "ok";
      },
      (error: FarrierRuntimeError) => error.message,
    );
  const edit = (file: string, change: (text: string) => string): string => {
    const dir = fresh();
    writeFileSync(join(dir, file), change(readFileSync(join(dir, file), "utf8")));
    return dir;
  };

  it("has a manifest of format 1 (row 100)", async () => {
    expect(await opens(join(root, "nowhere"))).toMatch(/^E_IO/);
    const empty = join(root, "empty");
    mkdirSync(empty);
    expect(await opens(empty)).toMatch(/^E_BUNDLE_FORMAT: .*has no manifest.json/);
    expect(await opens(edit("manifest.json", () => ""))).toMatch(/^E_BUNDLE_FORMAT/);
    expect(await opens(edit("manifest.json", (t) => t.slice(0, -1)))).toMatch(/^E_BUNDLE_FORMAT/);
    expect(
      await opens(edit("manifest.json", (t) => t.replace('"format":1', '"format":2'))),
    ).toMatch(/^E_BUNDLE_FORMAT: .*format 2 .*newer farrier/);
    expect(
      await opens(edit("manifest.json", (t) => t.replace('"format":1', '"format":1,"format":1'))),
    ).toMatch(/occurs twice/);
    expect(await opens(edit("manifest.json", (t) => t.replace('"cpu"', '"gpu"')))).toMatch(
      /^E_BUNDLE_FORMAT/,
    );
  });

  it("has no changed byte in any file (row 101)", async () => {
    for (const file of [
      "plan.json",
      "kernels/k.c",
      "kernels/cpu.portable.so",
      "weights.safetensors",
    ]) {
      const dir = fresh();
      const data = readFileSync(join(dir, file));
      data.writeUInt8(data.readUInt8(data.length >> 1) ^ 1, data.length >> 1);
      writeFileSync(join(dir, file), data);
      expect(await opens(dir)).toMatch(
        new RegExp(`^E_BUNDLE_HASH: .*${file.replaceAll(".", "\\.")}`),
      );
    }
  });

  it("has no file more or less, none longer (rows 102, 104)", async () => {
    const extra = fresh();
    writeFileSync(join(extra, "kernels/more.ptx"), "");
    expect(await opens(extra)).toMatch(/^E_BUNDLE_EXTRA: "kernels\/more.ptx"/);
    const missing = fresh();
    rmSync(join(missing, "kernels/k.c"));
    expect(await opens(missing)).toMatch(/^E_BUNDLE_MISSING: .*kernels\/k\.c/);
    const longer = fresh();
    appendFileSync(join(longer, "plan.json"), " ");
    expect(await opens(longer)).toMatch(/^E_BUNDLE_SIZE: .*plan\.json/);
  });

  it("stays below its directory (row 103)", async () => {
    const named = (name: string): string =>
      edit("manifest.json", (t) =>
        t.replace(
          '"files":{',
          `"files":{${JSON.stringify(name)}:{"bytes":0,"sha256":"${"0".repeat(64)}"},`,
        ),
      );
    for (const name of [
      "../x",
      "/etc/passwd",
      "a/../x",
      "a//x",
      ".",
      "",
      "C:\\x",
      "a\\x",
      "a\u0000x",
      "KERNELS/K.C",
      "Manifest.json",
    ])
      expect(await opens(named(name)), name).toMatch(/^E_BUNDLE_PATH/);
    const link = fresh();
    renameSync(join(link, "plan.json"), join(root, "elsewhere.json"));
    symlinkSync(join(root, "elsewhere.json"), join(link, "plan.json"));
    expect(await opens(link)).toMatch(/^E_BUNDLE_PATH/);
    const directory = fresh();
    renameSync(join(directory, "kernels"), join(root, "kernels"));
    symlinkSync(join(root, "kernels"), join(directory, "kernels"));
    expect(await opens(directory)).toMatch(/^E_BUNDLE_PATH/);
  });

  it("is refused if built elsewhere, unless allowed", async () => {
    const dir = edit("manifest.json", (t) =>
      t.replace(/"machine":"[0-9a-f]+"/, `"machine":"${"0".repeat(64)}"`),
    );
    expect(await opens(dir)).toMatch(/^E_BUNDLE_NATIVE/);
    const model = await load(dir, { allowNative: true });
    await model.close();
  });

  it("has a sound plan (row 106)", async () => {
    const changed = async (from: string | RegExp, to: string): Promise<string> => {
      const parts = scaleBundle();
      const dir = fresh(parts);
      const text = JSON.stringify(parts.plan);
      expect(text).toMatch(from);
      writeFileSync(join(dir, "plan.json"), text.replace(from, to));
      writeManifest(dir, parts);
      return opens(dir);
    };
    expect(await changed('"offset":0', '"offset":8')).toMatch(
      /^E_PLAN: .*offset: expected a multiple of 16/,
    );
    expect(await changed('"offset":0', '"offset":16')).toMatch(/^E_PLAN: .*within the arena/);
    expect(await changed('"arenaBytes":256', '"arenaBytes":128')).toMatch(/^E_PLAN/);
    expect(await changed('"kernel":1', '"kernel":3')).toMatch(/^E_PLAN: .*integer from 0 to 2/);
    expect(await changed('"kind":"kernel"', '"kind":"copy"')).toMatch(/^E_PLAN: .*no other step/);
    expect(await changed('"kind":"status"', '"kind":"bus"')).toMatch(/^E_PLAN: .*kind of buffer/);
    expect(await changed('"scalars":["seq"]', '"scalars":["len"]')).toMatch(
      /^E_PLAN: .*name of a symbol/,
    );
    expect(await changed('"scalars":["seq"]', '"scalars":[["pow","seq",2]]')).toMatch(
      /^E_PLAN: .*operator/,
    );
    expect(await changed('"bytes":16,"from"', '"bytes":12,"from"')).toMatch(
      /^E_PLAN: .*shape times dtype/,
    );
    expect(await changed('"shape":["batch"]', '"shape":["other"]')).toMatch(/^E_PLAN/);
    expect(await changed('"symbol":"scale"', '"symbol":"scold"')).toMatch(
      /^E_MODULE: .*no kernel "scold"/,
    );
  });

  it("has steps that find what others left them (row 106)", async () => {
    type Step = { kernel: number; buffers: { kind: string; offset?: number; bytes?: number }[] };
    type Changeable = {
      targets: { cpu: { kernels: { access?: string }[]; entries: { main: { steps: Step[] }[] } } };
    };
    const changed = async (change: (steps: Step[], access: string[]) => void): Promise<string> => {
      const parts = scaleBundle();
      const plan = structuredClone(parts.plan) as typeof parts.plan & Changeable;
      const { kernels, entries } = plan.targets.cpu;
      const access = kernels.map((kernel) => kernel.access!);
      change(entries.main[0]!.steps, access);
      kernels.forEach((kernel, i) => (kernel.access = access[i]!));
      return opens(fresh({ ...parts, plan }));
    };
    expect(await changed(() => undefined)).toBe("ok");
    expect(await changed((_, access) => (access[1] = "rwww"))).toMatch(
      /^E_PLAN: .*step 0 \("scale"\) writes buffer 1, which is only read/,
    );
    expect(await changed((steps) => steps.reverse())).toMatch(
      /^E_PLAN: .*step 0 \("add"\) reads bytes 0 to 256 of the arena, which hold nothing whole/,
    );
    const clobbering = (steps: Step[]): void => {
      const between = structuredClone(steps[0]!);
      between.buffers[2] = { kind: "arena", offset: 16, bytes: 32 };
      steps.splice(1, 0, between);
    };
    expect(await changed(clobbering)).toMatch(/^E_PLAN: .*step 2 \("add"\) reads bytes 0 to 256/);
    expect(await changed((steps) => (steps[0]!.buffers[0] = steps[0]!.buffers[2]!))).toMatch(
      /^E_PLAN/,
    );
    expect(await changed((_, access) => (access[2] = "rr"))).toMatch(/^E_PLAN: .*as many/);
    expect(await changed((_, access) => (access[2] = "rrwxw"))).toMatch(/^E_PLAN: .*letters r, w/);
  });

  it("has a launch within limits (row 107)", async () => {
    const parts = scaleBundle();
    const text = JSON.stringify(parts.plan).replace('"tasks":"batch"', '"tasks":["sub","batch",3]');
    const dir = fresh({ ...parts, plan: JSON.parse(text) as BundleParts["plan"] });
    const model = await load(dir);
    const state = model.createState();
    expect((await failure(model.run({ x: x23 }, { state }))).message).toMatch(
      /^E_LAUNCH_DECL: scale: -1 tasks/,
    );
    await model.close();
  });

  it("has values for its weights", async () => {
    const without = (from: object): BundleParts => {
      const parts = scaleBundle();
      const text = JSON.stringify(parts.plan).replace('{"kind":"bundle"}', JSON.stringify(from));
      return { ...parts, plan: JSON.parse(text) as BundleParts["plan"] };
    };
    expect(await opens(fresh(without({ kind: "none" })))).toMatch(/^E_WEIGHTS: .*--weights none/);
    expect(await opens(fresh(without({ kind: "random", seed: 3, scale: 0.5, shift: 1 })))).toBe(
      "ok",
    );
    expect(await opens(fresh(without({ kind: "file", file: "absent.bin", offset: 0 })))).toMatch(
      /^E_EXT_MISSING/,
    );
    writeFileSync(join(root, "outside.bin"), Buffer.from(new Float32Array([9, 1, 2, 3]).buffer));
    const file = fresh(without({ kind: "file", file: join(root, "outside.bin"), offset: 0 }));
    expect(await opens(file)).toBe("ok");
    expect(
      await opens(fresh(without({ kind: "file", file: join(root, "outside.bin"), offset: 8 }))),
    ).toMatch(/^E_EXT_RANGE/);
  });
});
