/**
 * Rows 54 and 91, and others at full size: large inputs, each in a process of its own: refused or accepted within 10 s, and in no more
 * memory than three times the file and 512 MiB. `FARRIER_LARGE=1` runs all of them, and all at full size.
 */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../compiler/version.js";
import { floatBytes } from "../../compiler/frontend/onnx/wire/encode.testing.js";
import { SafetensorsFile } from "../../compiler/frontend/files/safetensors.js";
import { fixture, temporaryDirectory } from "../support.js";
import { Place } from "./case.js";
import { atTheEnd, chain, emptyTensors, sparse } from "./large.js";

const full = process.env["FARRIER_LARGE"] === "1";
const main = path.join(packageRoot(), "compiler", "cli", "main.ts");
const [kib, mib, gib] = [2 ** 10, 2 ** 20, 2 ** 30];

interface Outcome {
  readonly status: number | null;
  readonly last: Readonly<Record<string, unknown>>;
  readonly seconds: number;
  readonly bytes: number;
}

/** Runs the command line and asks for its time, of the processor, and its largest memory. */
function measured(argv: readonly string[]): Outcome {
  const script = `import { main } from ${JSON.stringify(main)};
const began = process.cpuUsage();
process.exitCode = await main(${JSON.stringify([...argv, "--json"])});
const { user, system } = process.cpuUsage(began);
const seconds = (user + system) / 1e6;
console.log(JSON.stringify({ event: "measured", seconds, rss: process.resourceUsage().maxRSS }));`;
  const flags = ["--import", "tsx", "--input-type=module", "-e", script];
  const { status, stdout, stderr } = spawnSync(process.execPath, flags, {
    cwd: packageRoot(),
    encoding: "utf8",
    maxBuffer: 64 * mib,
  });
  expect(stderr).toBe("");
  const events = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Outcome["last"]);
  const { seconds, rss } = events.pop() as { seconds: number; rss: number };
  return { status, last: events.at(-1)!, seconds, bytes: rss * kib };
}

interface Row {
  /** Also where only a part is run: each row has one that is. */
  readonly always?: true;
  readonly row: number;
  readonly what: string;
  /** The error's code, or `ok`. */
  readonly code: string;
  /** Writes the model, and gives what the command line is told of it. */
  build(place: Place): readonly string[];
  readonly check?: (bundle: string) => void;
}

const config = fs.readFileSync(fixture("llama", "hf", "config.json"));
const tail = floatBytes(Array.from({ length: 64 }, (_, i) => i));
/** Of full size only where it is asked for. */
const [nodes, external] = full ? [5_000_000, 5 * gib] : [1_100_000, 5 * gib];

const rows: readonly Row[] = [
  {
    always: true,
    ...{ row: 54, what: `${nodes} Identity nodes`, code: "E_LIMIT_NODES" },
    build(place) {
      chain(place.model("model.onnx"), nodes);
      return [place.model("model.onnx")];
    },
  },
  {
    always: true,
    ...{ row: 75, what: "a data file of 5 GiB", code: "ok" },
    build(place) {
      place.write({ "model.onnx": atTheEnd(external) });
      sparse(place.model("w.bin"), external, tail);
      return [place.model("model.onnx")];
    },
    check(bundle) {
      const file = SafetensorsFile.open(path.join(bundle, "weights.safetensors"));
      expect(Buffer.compare(file.read("w"), tail)).toBe(0);
      file.close();
    },
  },
  {
    ...{ row: 75, what: "a model of 3 GiB", code: "E_LIMIT_FILE" },
    build(place) {
      sparse(place.model("model.onnx"), 3 * gib);
      return [place.model("model.onnx")];
    },
  },
  {
    ...{
      row: 78,
      what: "a file of 200 GB with a header of 100,000,000 bytes",
      code: "E_ST_HEADER",
    },
    build(place) {
      place.write({ "config.json": config });
      const file = place.model("model.safetensors");
      sparse(file, 200e9);
      const head = Buffer.alloc(9, "{");
      head.writeBigUInt64LE(100_000_000n);
      const fd = fs.openSync(file, "r+");
      fs.writeSync(fd, head, 0, 9, 0);
      fs.closeSync(fd);
      return [place.model()];
    },
  },
  {
    // The weights are not the model's, so that the error comes after all of them were read.
    ...{
      row: 91,
      what: "a header with about as many empty tensors as there may be",
      code: "E_WEIGHTS",
    },
    build(place) {
      place.write({ "config.json": config });
      emptyTensors(place.model("model.safetensors"), 250_000, full ? 100e6 : 0);
      return [place.model()];
    },
  },
  {
    always: true,
    ...{
      row: 91,
      what: "a header with more tensors than a file may have",
      code: "E_LIMIT_TENSORS",
    },
    build(place) {
      place.write({ "config.json": config });
      emptyTensors(place.model("model.safetensors"), full ? 1_000_000 : 300_000, full ? 100e6 : 0);
      return [place.model()];
    },
  },
  {
    always: true,
    ...{ row: 95, what: "a config.json of 200 MB", code: "E_CONFIG" },
    build(place) {
      sparse(place.model("config.json"), 200e6, Buffer.from("}"));
      return [place.model()];
    },
  },
  {
    ...{ row: 95, what: "a generation_config.json of 200 MB", code: "E_CONFIG" },
    build(place) {
      fs.cpSync(fixture("llama", "hf"), place.model(), { recursive: true });
      fs.rmSync(place.model("generation_config.json"));
      sparse(place.model("generation_config.json"), 200e6, Buffer.from("}"));
      return [place.model()];
    },
  },
  {
    ...{ row: 93, what: "an index of 200 MB", code: "E_SHARD_INDEX" },
    build(place) {
      place.write({ "config.json": config });
      sparse(place.model("model.safetensors.index.json"), 200e6);
      return [place.model()];
    },
  },
];

describe("large inputs", () => {
  it.each(
    rows
      .filter(({ always }) => full || always)
      .map((row) => [row.row, row.what, row.code, row] as const),
  )(
    "row %i: %s is %s",
    (_row, _what, code, row) => {
      const place = new Place(temporaryDirectory());
      const args = row.build(place);
      const bundle = place.out("x.farrier");
      // What is not there of a sparse file counts for nothing.
      const size = Math.max(
        ...fs.readdirSync(place.model()).map((name) => fs.statSync(place.model(name)).blocks * 512),
      );
      const outcome = measured(["compile", ...args, "-o", bundle, "--target", "sm_80"]);
      if (code === "ok") expect(outcome.last["event"]).toBe("compiled");
      else
        expect([outcome.last["code"], outcome.last["message"]]).toEqual([
          code,
          outcome.last["message"],
        ]);
      expect(outcome.status).toBe(code === "ok" ? 0 : 2);
      expect(outcome.seconds).toBeLessThan(10);
      expect(outcome.bytes).toBeLessThan(3 * size + 512 * mib);
      row.check?.(bundle);
      if (code !== "ok") expect(fs.readdirSync(place.out())).toEqual([]);
      fs.rmSync(place.root, { recursive: true, force: true });
    },
    60_000,
  );

  it("time grows with the number of nodes, not faster", () => {
    const place = new Place(temporaryDirectory());
    const seconds = [25_000, 100_000].map((count) => {
      chain(place.model("model.onnx"), count);
      const { seconds: took, status } = measured(["explain", place.model("model.onnx")]);
      expect(status).toBe(0);
      return took;
    });
    expect(seconds[1]! / seconds[0]!).toBeLessThan(8);
  }, 60_000);
});
