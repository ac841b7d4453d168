/** `compile`, `explain` of a model, and what is left on disk. GPU targets need no compiler. */
import fs from "node:fs";
import path from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { fixture, temporaryDirectory } from "../support.js";
import { contents, farrier, listed } from "./support.js";

const llama = fixture("llama", "hf");
const gpu = ["--target", "sm_80", "--dim", "batch=1..4", "--dim", "seq=1..32"];

/** A model directory of `config.json` alone. */
function configOnly(changes: Readonly<Record<string, unknown>> = {}): string {
  const directory = temporaryDirectory();
  const config = JSON.parse(fs.readFileSync(path.join(llama, "config.json"), "utf8")) as object;
  const text = JSON.stringify({ ...config, ...changes });
  fs.writeFileSync(path.join(directory, "config.json"), text);
  return directory;
}

describe("compile", () => {
  let bundle: string;
  beforeAll(async () => {
    bundle = path.join(temporaryDirectory(), "llama.farrier");
    const { status, out } = await farrier("compile", llama, ...gpu, "-o", bundle);
    expect({ status, out }).toMatchObject({ status: 0 });
    expect(out.startsWith(`${bundle}\n`)).toBe(true);
    expect(out).toMatch(/^ {2}sm_80 main: 11 launches \(\d+ without fusion\), /m);
  });

  it("names the bundle after the model by default", async () => {
    const before = process.cwd();
    const directory = temporaryDirectory();
    process.chdir(directory);
    try {
      const model = path.join(directory, "tiny");
      fs.cpSync(configOnly(), model, { recursive: true });
      const { status } = await farrier("compile", model, ...gpu, "--weights", "none");
      expect(status).toBe(0);
      expect(listed(directory)).toEqual(["tiny", "tiny.farrier"]);
    } finally {
      process.chdir(before);
    }
  });

  it("gives the same bytes for the same inputs", async () => {
    const again = path.join(temporaryDirectory(), "llama.farrier");
    await farrier("compile", llama, ...gpu, "-o", again);
    expect(contents(again)).toEqual(contents(bundle));
  });

  it("lists every file in the manifest, the binding and the report among them", () => {
    const manifest = JSON.parse(fs.readFileSync(path.join(bundle, "manifest.json"), "utf8")) as {
      files: Record<string, unknown>;
    };
    const names = [...contents(bundle).keys()].filter((name) => name !== "manifest.json");
    expect(Object.keys(manifest.files).sort()).toEqual(names.sort());
    expect(names).toEqual(expect.arrayContaining(["index.js", "index.d.ts", "report.json"]));
  });

  it("says what happens as events", async () => {
    const output = path.join(temporaryDirectory(), "x.farrier");
    const { status, events } = await farrier("compile", llama, ...gpu, "-o", output, "--json");
    expect(status).toBe(0);
    expect(events.at(-1)).toMatchObject({ event: "compiled", path: output });
    expect(new Set(events.map(({ event }) => event))).toEqual(new Set(["progress", "compiled"]));
  });

  it("refuses an existing bundle, and moves it aside with --force", async () => {
    const directory = temporaryDirectory();
    const output = path.join(directory, "x.farrier");
    fs.cpSync(bundle, output, { recursive: true });
    const marker = path.join(output, "manifest.json");
    const old = fs.readFileSync(marker, "utf8");
    const refused = await farrier("compile", llama, ...gpu, "-o", output);
    expect(refused.status).toBe(2);
    expect(refused.err).toContain("E_BUNDLE_EXISTS");
    expect(refused.err).toContain("--force");
    const forced = await farrier("compile", llama, ...gpu, "-o", output, "--force");
    expect(forced.status).toBe(0);
    expect(forced.err).toContain("x.farrier.old1");
    expect(listed(directory)).toEqual(["x.farrier", "x.farrier.old1"]);
    expect(fs.readFileSync(path.join(`${output}.old1`, "manifest.json"), "utf8")).toBe(old);
  });

  it("never moves aside what is not a bundle", async () => {
    const directory = temporaryDirectory();
    fs.writeFileSync(path.join(directory, "precious"), "");
    const { status, err } = await farrier("compile", llama, ...gpu, "-o", directory, "--force");
    expect({ status, err }).toMatchObject({ status: 2 });
    expect(err).toContain("not a bundle");
    expect(listed(directory)).toEqual(["precious"]);
  });

  it("prints graphs after passes", async () => {
    const output = path.join(temporaryDirectory(), "x.farrier");
    const rest = ["--weights", "none", "-o", output, "--print-after", "matmul(x, A)"];
    const { status, out } = await farrier("compile", configOnly(), ...gpu, ...rest);
    expect(status).toBe(0);
    expect(out).toMatch(/^# main, after matmul\(x, A\)/);
    expect(out).toContain("matmul");
  });

  it("needs nothing but config.json for --weights random and none", async () => {
    for (const weights of ["random:7", "none"]) {
      const output = path.join(temporaryDirectory(), "x.farrier");
      const rest = ["--weights", weights, "-o", output];
      expect((await farrier("compile", configOnly(), ...gpu, ...rest)).status).toBe(0);
      expect(fs.existsSync(path.join(output, "manifest.json"))).toBe(true);
    }
  });
});

interface Bad {
  readonly what: string;
  readonly argv: () => string[];
  readonly status: number;
  readonly says: readonly string[];
}

const to = (): string => path.join(temporaryDirectory(), "x.farrier");
const bad: readonly Bad[] = [
  {
    what: "a model that is not there",
    argv: () => ["/no/such/model", "-o", to()],
    status: 2,
    says: ["E_NOT_FOUND", "/no/such/model"],
  },
  {
    what: "an unknown target",
    argv: () => [llama, "--target", "sm_35", "-o", to()],
    status: 3,
    says: ["E_TARGET", "sm_35", "choose from cpu, sm_80"],
  },
  {
    what: "no target at all",
    argv: () => [llama, "--target", ",", "-o", to()],
    status: 2,
    says: ["E_OPTION", "--target"],
  },
  {
    what: "a dimension that the model does not have",
    argv: () => [llama, "--target", "sm_80", "--dim", "sequence=1..4", "-o", to()],
    status: 2,
    says: ["E_DIM", "sequence", "batch and seq"],
  },
  {
    what: "an empty range",
    argv: () => [llama, "--target", "sm_80", "--dim", "seq=9..4", "-o", to()],
    status: 2,
    says: ["E_DIM", "9..4"],
  },
  {
    what: "a range that is no range",
    argv: () => [llama, "--dim", "seq=few", "-o", to()],
    status: 2,
    says: ["NAME=LO..HI"],
  },
  {
    what: "an unknown dtype",
    argv: () => [llama, "--dtype", "f8", "-o", to()],
    status: 2,
    says: ["choose from f32, bf16, f16"],
  },
  {
    what: "an unknown way to give weights",
    argv: () => [llama, "--weights", "zero", "-o", to()],
    status: 2,
    says: ["E_OPTION", "random:SEED"],
  },
  {
    what: "live weights that would have to be joined",
    argv: () => [fixture("mixtral", "hf"), "--weights", "live", "-o", to()],
    status: 3,
    says: ["E_UNSUPPORTED", "--weights live", "--weights none makes it once"],
  },
  {
    what: "a pass that does not exist",
    argv: () => [llama, "--target", "sm_80", "--print-after", "wishful", "-o", to()],
    status: 2,
    says: ["E_OPTION", "the passes are"],
  },
  {
    what: "a fusion that does not happen",
    argv: () => [llama, "--target", "sm_80", "--require-fusion", "wishful", "-o", to()],
    status: 2,
    says: ["E_FUSION", "wishful", "these did"],
  },
  {
    what: "an output directory that is not there",
    argv: () => [llama, "--target", "sm_80", "-o", path.join(to(), "deeper", "x.farrier")],
    status: 5,
    says: ["E_IO", "does not exist"],
  },
  {
    what: "an output directory that cannot be written",
    argv: () => [llama, "--target", "sm_80", "-o", "/proc/x.farrier"],
    status: 5,
    says: ["E_IO", "cannot write"],
  },
  {
    what: "a directory without weights",
    argv: () => [configOnly(), "--target", "sm_80", "-o", to()],
    status: 2,
    says: ["E_", "safetensors"],
  },
  {
    what: "an architecture that is not known",
    argv: () => [configOnly({ model_type: "perceptron" }), "--target", "sm_80", "-o", to()],
    status: 3,
    says: ["E_ARCH", "perceptron", "llama"],
  },
  { what: "no model", argv: () => [], status: 2, says: ["missing required argument"] },
  {
    what: "an unknown option",
    argv: () => [llama, "--fast"],
    status: 2,
    says: ["unknown option", "--help"],
  },
];

describe("compile refuses", () => {
  it.each(bad)("$what", async ({ argv, status, says }) => {
    const args = argv();
    const said = await farrier("compile", ...args);
    expect({ status: said.status, err: said.err }).toMatchObject({ status });
    for (const text of says) expect(said.err).toContain(text);
    expect(said.out).toBe("");
    const output = args.includes("-o") ? args[args.indexOf("-o") + 1]! : to();
    const parent = path.dirname(output);
    if (parent !== "/proc") expect(fs.existsSync(parent) ? listed(parent) : []).toEqual([]);
  });

  it.each(bad)("$what, as an event", async ({ argv, status }) => {
    const said = await farrier("compile", ...argv(), "--json");
    expect(said.status).toBe(status);
    const last = said.events.at(-1);
    expect(last).toMatchObject({ event: "error", status, code: expect.stringMatching(/^E_/) });
    expect(said.err).toBe("");
  });

  it("the CPU without a C compiler, and says how to get one", async () => {
    const before = { PATH: process.env["PATH"], CC: process.env["CC"] };
    process.env["PATH"] = temporaryDirectory();
    delete process.env["CC"];
    try {
      const rest = ["--dim", "batch=1", "--dim", "seq=1..8", "-o", to()];
      const said = await farrier("compile", llama, "--target", "cpu", ...rest);
      expect(said.status).toBe(3);
      expect(said.err).toContain("E_NO_CC");
      expect(said.err).toContain("install gcc or clang, or set CC");
    } finally {
      for (const [name, value] of Object.entries(before))
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
    }
  });
});

describe("explain MODEL", () => {
  it("prints launches before and after, kernels, and why values pass through memory", async () => {
    const { status, out } = await farrier("explain", llama, ...gpu);
    expect(status).toBe(0);
    expect(out).toMatch(/^main: 11 launches \(\d+ without fusion\)$/m);
    expect(out).toContain("product: model.layers.0.self_attn.{q_proj, k_proj, v_proj}");
    expect(out).toContain("before it: RMS norm");
    expect(out).toContain("passes from one product or attention to another");
  });

  it("gives the report as an event", async () => {
    const { events } = await farrier("explain", llama, ...gpu, "--json");
    expect(events.at(-1)).toMatchObject({
      event: "explained",
      report: { format: 1, fusion: true },
    });
  });

  it("refuses --html for now", async () => {
    const { status, err } = await farrier("explain", llama, "--html", "x.html");
    expect({ status, err }).toMatchObject({ status: 3 });
    expect(err).toContain("E_UNSUPPORTED");
  });
});

describe("the command itself", () => {
  it.each([
    ["--version", 0],
    ["--help", 0],
    ["compile --help", 0],
    ["shoe", 2],
    ["tune x", 3],
    ["profile x", 2],
    ["warm x", 2],
    ["doctor", 0],
  ])("farrier %s exits with %i", async (line, status) => {
    expect((await farrier(...line.split(" "))).status).toBe(status);
  });

  it("leaves nothing in the directory for temporary files", async () => {
    const before = process.env["TMPDIR"];
    const directory = temporaryDirectory();
    process.env["TMPDIR"] = directory;
    try {
      const output = path.join(directory, "x.farrier");
      expect((await farrier("compile", llama, ...gpu, "-o", output)).status).toBe(0);
      expect(listed(directory)).toEqual(["x.farrier"]);
      expect(process.env["TMPDIR"]).toBe(directory);
    } finally {
      if (before === undefined) delete process.env["TMPDIR"];
      else process.env["TMPDIR"] = before;
    }
  });
});
