import fs from "node:fs";
import { afterEach, describe, expect, test } from "vitest";
import { Checkpoint } from "./checkpoint.js";
import { ConfigReader } from "./config-reader.js";
import { failure, temporaryDirectory } from "./failure.testing.js";
import { SafetensorsFile } from "./safetensors.js";
import { ModelDirectory } from "./source-file.js";
import { inMemory, writeSafetensors } from "./write-safetensors.js";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

/** A directory of shards, each with tensors of one byte, and an index when one is given. */
function directoryOf(
  shards: Readonly<Record<string, readonly string[]>>,
  index?: unknown,
  files: Readonly<Record<string, string>> = {},
): ModelDirectory {
  const root = temporaryDirectory(files);
  for (const [shard, names] of Object.entries(shards)) {
    const tensors = names.map(
      (name, at) => [name, inMemory("u8", [1], Uint8Array.of(at + 1))] as const,
    );
    writeSafetensors(root.file(shard), new Map(tensors));
  }
  if (index !== undefined) {
    const text = typeof index === "string" ? index : JSON.stringify(index);
    fs.writeFileSync(root.file("model.safetensors.index.json"), text);
  }
  const directory = ModelDirectory.at(root.path);
  cleanups.push(() => {
    directory.close();
    root.remove();
  });
  return directory;
}

const map = (entries: Readonly<Record<string, unknown>>): unknown => ({
  metadata: { total_size: 1 },
  weight_map: entries,
});

test("one file", () => {
  const checkpoint = Checkpoint.open(directoryOf({ "model.safetensors": ["a", "b"] }));
  const ref = checkpoint.tensors.get("b");
  expect(ref).toMatchObject({ name: "b", dtype: "u8", shape: [1], bytes: 1 });
  if (ref === undefined) return;
  expect([...checkpoint.read(ref)]).toEqual([2]);
  expect([...checkpoint.readRange(ref, 1, 0)]).toEqual([]);
  expect(failure(() => checkpoint.readRange(ref, 1, 1)).code).toBe("E_EXT_RANGE");
});

test("shards; a tensor that the index leaves out is there all the same", () => {
  const checkpoint = Checkpoint.open(
    directoryOf(
      { "x-2.safetensors": ["b", "c"], "x-1.safetensors": ["a"] },
      map({ b: "x-2.safetensors", a: "x-1.safetensors" }),
    ),
  );
  expect([...checkpoint.tensors.keys()]).toEqual(["a", "b", "c"]);
  expect(checkpoint.files.map(({ file }) => file.name)).toEqual([
    "x-1.safetensors",
    "x-2.safetensors",
  ]);
});

describe("row 92: shards outside of the directory", () => {
  test.each([
    "../x.safetensors",
    "/etc/x.safetensors",
    "https://example.com/x.safetensors",
    "C:\\x.safetensors",
    "pytorch_model.bin",
    "",
  ])("%j", (shard) => {
    const error = failure(() => Checkpoint.open(directoryOf({}, map({ a: shard }))));
    expect(error.code).toBe("E_SHARD_PATH");
  });
});

describe("row 93", () => {
  test("a missing shard", () => {
    const directory = directoryOf(
      { "x.safetensors": ["a"] },
      map({ a: "x.safetensors", b: "y.safetensors" }),
    );
    const error = failure(() => Checkpoint.open(directory));
    expect(error.code).toBe("E_SHARD_MISSING");
    expect(error.message).toContain("y.safetensors");
  });

  test("a tensor absent from its shard", () => {
    const directory = directoryOf({ "x.safetensors": ["a"] }, map({ b: "x.safetensors" }));
    const error = failure(() => Checkpoint.open(directory));
    expect(error.code).toBe("E_SHARD_TENSOR");
    expect(error.message).toContain('tensor "b"');
  });

  test("a tensor in two shards", () => {
    const shards = { "x.safetensors": ["a", "b"], "y.safetensors": ["b"] };
    const directory = directoryOf(shards, map({ a: "x.safetensors", b: "y.safetensors" }));
    expect(failure(() => Checkpoint.open(directory)).code).toBe("E_SHARD_DUPLICATE");
  });

  test.each([
    ["E_SHARD_DUPLICATE", '{"weight_map":{"a":"x.safetensors","a":"y.safetensors"}}'],
    ["E_SHARD_INDEX", "{"],
    ["E_SHARD_INDEX", "[]"],
    ["E_SHARD_INDEX", "{}"],
    ["E_SHARD_INDEX", '{"weight_map":{}}'],
    ["E_SHARD_INDEX", '{"weight_map":{"a":1}}'],
  ])("%s for the index %s", (code, index) => {
    expect(failure(() => Checkpoint.open(directoryOf({}, index))).code).toBe(code);
  });
});

describe("row 94: pickles", () => {
  test.each(["pytorch_model.bin", "pytorch_model.bin.index.json", "m.pt", "m.ckpt", "tf_model.h5"])(
    "%s",
    (name) => {
      const error = failure(() => Checkpoint.open(directoryOf({}, undefined, { [name]: "" })));
      expect(error.code).toBe("E_PICKLE_REFUSED");
      expect(error.message).toContain("executes code");
      expect(error.message).toContain("convert to safetensors elsewhere");
    },
  );

  test("beside safetensors they are not looked at", () => {
    const directory = directoryOf({ "model.safetensors": ["a"] }, undefined, {
      "pytorch_model.bin": "",
    });
    expect(Checkpoint.open(directory).tensors.size).toBe(1);
  });

  test("no weights at all", () => {
    const directory = directoryOf({}, undefined, { "config.json": "{}" });
    expect(failure(() => Checkpoint.open(directory)).code).toBe("E_WEIGHTS");
  });
});

describe("fixtures", () => {
  const models = new URL("../../../test/fixtures/models/", import.meta.url).pathname;

  test.each([
    ["gpt2", "gpt2", 28, 1],
    ["llama", "llama", 21, 1],
    ["published/gpt2", "gpt2", 30, 1],
    ["published/llama", "llama", 23, 3],
  ])("%s: configuration, weights and golden values", (name, type, tensors, files) => {
    const directory = ModelDirectory.at(`${models}${name}/hf`);
    expect(ConfigReader.open(directory).string("model_type")).toBe(type);
    const checkpoint = Checkpoint.open(directory);
    expect([checkpoint.tensors.size, checkpoint.files.length]).toEqual([tensors, files]);
    for (const ref of checkpoint.tensors.values()) {
      expect(checkpoint.read(ref)).toHaveLength(ref.bytes);
    }
    directory.close();
    const golden = SafetensorsFile.open(`${models}${name}/golden-hf.safetensors`);
    expect([...golden.tensors.keys()].sort()).toEqual(["input_ids", "logits"]);
    golden.close();
  });
});
