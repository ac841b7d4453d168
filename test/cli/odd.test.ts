/** What people give a command by mistake, and places where it cannot read or write. */
import { spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { describe, expect, it, vi } from "vitest";
import { encodeModel } from "../../compiler/frontend/onnx/wire/encode.testing.js";
import { packageRoot } from "../../compiler/version.js";
import { graphOf, negated } from "../robustness/case.js";
import { fixture, temporaryDirectory } from "../support.js";
import { farrier, listed } from "./support.js";

const llama = fixture("llama", "hf");
const gpu = ["--target", "sm_80"];

/** A command in a process of its own. */
function command(argv: readonly string[]): string[] {
  const main = path.join(packageRoot(), "compiler", "cli", "main.ts");
  const script = `import { main } from ${JSON.stringify(main)};
process.exitCode = await main(${JSON.stringify(argv)});`;
  return ["--import", "tsx", "--input-type=module", "-e", script];
}

/** tsx keeps a cache and a pipe of its own there. */
const leftIn = (directory: string): string[] =>
  listed(directory).filter((name) => !name.startsWith("tsx"));

describe("a directory without config.json says what was meant", () => {
  const rows: readonly (readonly [string, (at: string) => void, RegExp])[] = [
    ["nothing", () => undefined, /give an ONNX file, or a directory with config\.json/],
    ["a bundle", (at) => fs.writeFileSync(path.join(at, "manifest.json"), "{}"), /it is a bundle/],
    [
      "an ONNX file",
      (at) => fs.writeFileSync(path.join(at, "m.onnx"), ""),
      /the ONNX file, .*m\.onnx/,
    ],
    [
      "a model",
      (at) => fs.cpSync(llama, path.join(at, "inner"), { recursive: true }),
      /\/inner, which/,
    ],
  ];
  it.each(rows)("%s", async (_, build, says) => {
    const directory = temporaryDirectory();
    build(directory);
    const { status, err } = await farrier("compile", directory, ...gpu);
    expect(status).toBe(2);
    expect(err).toMatch(/^farrier: E_CONFIG: .*the directory has no config\.json \(/);
    expect(err).toMatch(says);
  });
});

describe("options", () => {
  it.each([
    [["compile"], /missing required argument 'model' \(see farrier compile --help\)/],
    [["complie", "x"], /unknown command 'complie' \(did you mean compile\?/],
    [["compile", "x", "--foo"], /unknown option '--foo' \(see farrier compile --help\)/],
    [["verify", "x"], /required option '--golden <file>'/],
    [["compile", llama, "--dim", "seq"], /write NAME=LO\.\.HI/],
    [["compile", llama, "-o", ""], /the bundle's name is empty/],
  ])("%j", async (argv, says) => {
    const { status, out, err } = await farrier(...argv);
    expect([status, out]).toEqual([2, ""]);
    expect(err).toMatch(/^farrier: E_OPTION: [^\n]*\n$/);
    expect(err).toMatch(says);
    const json = await farrier(...argv, "--json");
    expect([json.status, json.err, json.events.length]).toEqual([2, "", 1]);
    expect(json.events[0]).toMatchObject({ event: "error", code: "E_OPTION", status: 2 });
  });

  it("no command is the help, and as an event an error", async () => {
    const { status, err } = await farrier();
    expect(status).toBe(2);
    expect(err).toMatch(/^Usage: farrier/);
  });
});

describe("a bundle that somebody edited", () => {
  const texts = [
    "{}",
    "null",
    "[]",
    "{",
    '{"format":1}',
    '{"format":1,"targets":[]}',
    '{"format":2}',
  ];
  it.each(texts)("%s", async (text) => {
    const bundle = temporaryDirectory();
    for (const name of ["manifest.json", "plan.json", "report.json"])
      fs.writeFileSync(path.join(bundle, name), text);
    for (const name of ["inspect", "explain", "run"]) {
      const { events } = await farrier(name, bundle, "--json");
      expect([name, events.at(-1)]).toMatchObject([name, { code: "E_BUNDLE_FORMAT", status: 2 }]);
    }
  });

  it("the report of one that nobody did", async () => {
    const bundle = path.join(temporaryDirectory(), "x.farrier");
    expect((await farrier("compile", llama, "-o", bundle, ...gpu)).status).toBe(0);
    for (const name of ["inspect", "explain"]) expect((await farrier(name, bundle)).status).toBe(0);
    const file = path.join(bundle, "report.json");
    const edited = fs.readFileSync(file, "utf8").replace(/"launches": \d+/, '"launches": "12"');
    fs.writeFileSync(file, edited);
    const { err } = await farrier("explain", bundle);
    expect(err).toMatch(/targets\[0\]\.entries\[0\]\.launches is no number/);
  });
});

describe("names", () => {
  it.each(["with spaces, modèl 模型 \u{1f600} %s%n", "-quo'te\"s $HOME `x`", "new\nline"])(
    "%j",
    async (name) => {
      const directory = temporaryDirectory();
      const model = path.join(directory, name);
      fs.cpSync(llama, model, { recursive: true });
      const bundle = path.join(directory, `${name}.farrier`);
      const made = await farrier("compile", model, "-o", bundle, ...gpu, "--json");
      expect([made.status, made.events.at(-1)?.["path"]]).toEqual([0, bundle]);
      expect((await farrier("explain", bundle)).status).toBe(0);
      expect(listed(directory)).toEqual([name, `${name}.farrier`].sort());
    },
  );
});

describe("a C compiler that is none", () => {
  it.each([
    ["/bin/false", /"\/bin\/false" cannot compile anything/],
    ["/bin/true", /"\/bin\/true" makes no files/],
    ["cc --no-such-flag", /"cc --no-such-flag" cannot compile anything: .*no-such-flag/],
    ["no-such-compiler", /is not installed or not on PATH/],
  ])("%s", async (cc, says) => {
    const directory = temporaryDirectory();
    const [model, bundle] = ["m.onnx", "x"].map((each) => path.join(directory, each)) as [
      string,
      string,
    ];
    fs.writeFileSync(model, encodeModel({ graph: graphOf([negated]) }));
    vi.stubEnv("CC", cc);
    const { status, err } = await farrier("compile", model, "-o", bundle).finally(() =>
      vi.unstubAllEnvs(),
    );
    expect(status).toBe(3);
    expect(err).toMatch(/^farrier: E_NO_CC: [^\n]*\(install gcc or clang, or set CC to one\)\n$/);
    expect(err).toMatch(says);
    expect(fs.existsSync(bundle)).toBe(false);
  });
});

describe("places that cannot be written to", () => {
  it("no temporary directory", async () => {
    vi.stubEnv("TMPDIR", path.join(temporaryDirectory(), "none"));
    const { status, err } = await farrier("explain", llama, ...gpu).finally(() =>
      vi.unstubAllEnvs(),
    );
    expect(status).toBe(5);
    expect(err).toMatch(/^farrier: E_IO: .*none: no temporary files .*\(set TMPDIR to a directory/);
  });

  it.each([
    ["a directory that is not there", "no/x", /no does not exist \(make it first/],
    ["below a file", "file/x", /choose another place with -o/],
    ["what is no bundle", "file", /is not a bundle/],
  ])("%s", async (_, name, says) => {
    const directory = temporaryDirectory();
    fs.writeFileSync(path.join(directory, "file"), "");
    const { status, err } = await farrier(
      "compile",
      llama,
      "-o",
      path.join(directory, name),
      ...gpu,
    );
    expect([2, 5]).toContain(status);
    expect(err).toMatch(says);
    expect(listed(directory)).toEqual(["file"]);
  });

  it("a disk that is full: nothing is left behind (row 120)", () => {
    const [directory, temporary] = [temporaryDirectory(), temporaryDirectory()];
    const argv = ["compile", llama, "-o", path.join(directory, "x"), ...gpu, "--json"];
    // A file may have 64 KiB: the weights have more.
    const words = [process.execPath, ...command(argv)].map(
      (word) => `'${word.replaceAll("'", "'\\''")}'`,
    );
    const { status, stdout } = spawnSync("bash", ["-c", `ulimit -f 64; exec ${words.join(" ")}`], {
      cwd: packageRoot(),
      encoding: "utf8",
      env: { ...process.env, TMPDIR: temporary, TSX_DISABLE_CACHE: "1" },
    });
    const last = JSON.parse(stdout.trim().split("\n").at(-1)!) as unknown;
    expect(last).toMatchObject({ event: "error", code: "E_IO", status: 5 });
    expect([status, listed(directory), leftIn(temporary)]).toEqual([5, [], []]);
  });

  it("standard output that is full is an error without a trace", () => {
    const full = fs.openSync("/dev/full", "w");
    const { status, stderr } = spawnSync(process.execPath, command(["explain", llama, "--json"]), {
      cwd: packageRoot(),
      encoding: "utf8",
      stdio: ["ignore", full, "pipe"],
    });
    fs.closeSync(full);
    expect(stderr).toMatch(/^farrier: E_IO: cannot write to standard output: ENOSPC[^\n]*\n$/);
    expect(status).toBe(5);
  });

  it("a reader that leaves ends the command, and nothing is left behind", async () => {
    const [directory, temporary] = [temporaryDirectory(), temporaryDirectory()];
    const argv = ["compile", llama, "-o", path.join(directory, "x"), ...gpu, "--json"];
    const child = spawn(process.execPath, command(argv), {
      cwd: packageRoot(),
      env: { ...process.env, TMPDIR: temporary },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let err = "";
    child.stderr.on("data", (data: Buffer) => (err += data.toString()));
    child.stdout.destroy();
    const status = await new Promise((resolve) => child.on("close", resolve));
    expect([status, err]).toEqual([0, ""]);
    expect(leftIn(temporary)).toEqual([]);
    // All of the bundle, or nothing of it.
    expect([[], ["x"]]).toContainEqual(listed(directory));
  });
});
