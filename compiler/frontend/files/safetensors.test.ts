import fs from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { FarrierError } from "../../errors.js";
import { failure, mutate, random, survives, temporaryDirectory } from "./failure.testing.js";
import { SafetensorsFile } from "./safetensors.js";
import { inMemory, type TensorToWrite, writeSafetensors } from "./write-safetensors.js";

const root = temporaryDirectory();
afterAll(() => root.remove());

let files = 0;
function fileOf(bytes: Uint8Array): string {
  const file = root.file(`${files++}.safetensors`);
  fs.writeFileSync(file, bytes);
  return file;
}

/** A file of a header and so many bytes of data, counting up. */
function build(header: string | Uint8Array, dataBytes: number, length?: bigint): Uint8Array {
  const text = Buffer.from(header);
  const prefix = new DataView(new ArrayBuffer(8));
  prefix.setBigUint64(0, length ?? BigInt(text.length), true);
  const data = Uint8Array.from({ length: dataBytes }, (_, index) => index);
  return Buffer.concat([new Uint8Array(prefix.buffer), text, data]);
}

const entry = (dtype: string, shape: string, offsets: string): string =>
  `{"dtype":"${dtype}","shape":[${shape}],"data_offsets":[${offsets}]}`;
const header = (...tensors: readonly [string, string, string, string][]): string =>
  `{${tensors.map(([name, ...rest]) => `"${name}":${entry(...rest)}`).join(",")}}`;

const open = (bytes: Uint8Array): SafetensorsFile => SafetensorsFile.open(fileOf(bytes));
const two = header(["b", "F32", "2", "4,12"], ["a", "U8", "2,2", "0,4"]);

test("a good file", () => {
  const file = open(build(two, 12));
  expect([...file.tensors]).toEqual([
    ["a", { dtype: "u8", shape: [2, 2], begin: 0, end: 4 }],
    ["b", { dtype: "f32", shape: [2], begin: 4, end: 12 }],
  ]);
  expect([...file.read("b")]).toEqual([4, 5, 6, 7, 8, 9, 10, 11]);
  const missing = failure(() => file.read("c"));
  expect(missing.message).toContain("the file holds a, b");
});

interface BadRow {
  row: string;
  bytes: Uint8Array;
  code: string;
  text?: string;
}

const one = (shape: string, dtype = "U8", offsets = "0,4"): string =>
  header(["a", dtype, shape, offsets]);

const bad: readonly BadRow[] = [
  { row: "76 empty", bytes: new Uint8Array(), code: "E_ST_HEADER_LEN" },
  { row: "76 7 bytes", bytes: new Uint8Array(7), code: "E_ST_HEADER_LEN" },
  { row: "77", bytes: build("{}", 0, 100n), code: "E_ST_HEADER_LEN" },
  { row: "78", bytes: build("{}", 0, 100_000_001n), code: "E_ST_HEADER_LEN" },
  { row: "79 2^63", bytes: build("{}", 0, 2n ** 63n), code: "E_ST_HEADER_LEN" },
  { row: "79 2^64-1", bytes: build("{}", 0, 2n ** 64n - 1n), code: "E_ST_HEADER_LEN" },
  { row: "80 no {", bytes: build(` ${two}`, 12), code: "E_ST_HEADER" },
  { row: "80 empty", bytes: build("", 0), code: "E_ST_HEADER" },
  { row: "80 a list", bytes: build("[]", 0), code: "E_ST_HEADER" },
  { row: "80 BOM", bytes: build(`\ufeff${two}`, 12), code: "E_ST_HEADER", text: "byte 8" },
  { row: "80 UTF-8", bytes: build(Buffer.from('{"\xff":1}', "latin1"), 0), code: "E_ST_HEADER" },
  { row: "80 JSON", bytes: build('{"a":}', 0), code: "E_ST_HEADER", text: "byte 13" },
  { row: "80 cut", bytes: build(two.slice(0, -1), 12), code: "E_ST_HEADER" },
  { row: "80 trailing", bytes: build(`${two}x`, 12), code: "E_ST_HEADER" },
  {
    row: "80 no dtype",
    bytes: build('{"a":{"shape":[],"data_offsets":[0,0]}}', 0),
    code: "E_ST_HEADER",
  },
  { row: "80 one offset", bytes: build(one("4", "U8", "0"), 4), code: "E_ST_HEADER" },
  { row: "80 three offsets", bytes: build(one("4", "U8", "0,4,4"), 4), code: "E_ST_HEADER" },
  { row: "80 other field", bytes: build('{"a":{"code":"x"}}', 4), code: "E_ST_HEADER" },
  { row: "80 deep", bytes: build(`{"a":${"[".repeat(100_000)}`, 0), code: "E_ST_HEADER" },
  {
    row: "81",
    bytes: build(header(["a", "U8", "4", "0,4"], ["a", "U8", "4", "0,4"]), 4),
    code: "E_ST_DUPLICATE",
  },
  {
    row: "82",
    bytes: build(header(["a", "U8", "4", "0,4"], ["b", "U8", "4", "5,9"]), 9),
    code: "E_ST_OFFSETS",
    text: 'tensor "b"',
  },
  {
    row: "83",
    bytes: build(header(["a", "U8", "4", "0,4"], ["b", "U8", "4", "3,7"]), 7),
    code: "E_ST_OFFSETS",
    text: 'tensor "b"',
  },
  { row: "84", bytes: build(one("4", "U8", "4,0"), 4), code: "E_ST_OFFSETS", text: 'tensor "a"' },
  { row: "85", bytes: build(one("4", "U8", "1,5"), 5), code: "E_ST_OFFSETS", text: 'tensor "a"' },
  { row: "86", bytes: build(one("4"), 5), code: "E_ST_OFFSETS", text: 'tensor "a"' },
  { row: "86 no tensors", bytes: build("{}", 1), code: "E_ST_OFFSETS" },
  { row: "86 cut", bytes: build(one("4"), 3), code: "E_ST_OFFSETS", text: 'tensor "a"' },
  { row: "87", bytes: build(one("5"), 4), code: "E_ST_SIZE", text: "needs 5 bytes, has 4" },
  { row: "87 overflow", bytes: build(one("9007199254740991,2"), 4), code: "E_SIZE_OVERFLOW" },
  { row: "87 2^60", bytes: build(one("1073741824,1073741824"), 4), code: "E_SIZE_OVERFLOW" },
  ...["1e3", "16.0", "-0", "-4", "9007199254740993", '"16"', "null", "[4]", "04"].map((shape) => ({
    row: `88 ${shape}`,
    bytes: build(one(shape), 4),
    code: "E_ST_NUMBER",
  })),
  { row: "88 offset", bytes: build(one("4", "U8", "0,4.0"), 4), code: "E_ST_NUMBER" },
  { row: "89 dtype", bytes: build(one("4", "F8"), 4), code: "E_ST_DTYPE", text: "F8_E4M3" },
  { row: "89 dtype of Object", bytes: build(one("4", "toString"), 4), code: "E_ST_DTYPE" },
  { row: "89 F4 x 7", bytes: build(one("7", "F4"), 4), code: "E_ST_ALIGN" },
  { row: "90", bytes: build('{"__metadata__":{"a":1}}', 0), code: "E_ST_METADATA" },
  { row: "90 list", bytes: build('{"__metadata__":[]}', 0), code: "E_ST_METADATA" },
];

test.each(bad)("row $row is $code", ({ bytes, code, text }) => {
  const error = failure(() => open(bytes));
  expect(error.code).toBe(code);
  expect(error.message).toContain(".safetensors");
  if (text !== undefined) expect(error.message).toContain(text);
  expect(error.exitStatus).toBe(2);
});

describe("what must be accepted", () => {
  test("89: data that starts unaligned", () => {
    const text = `${one("1", "F32")} `;
    const file = open(build(text.length % 4 === 0 ? `${text} ` : text, 4));
    expect(file.dataOffset % 4).not.toBe(0);
    expect(new Float32Array(file.read("a").buffer)).toHaveLength(1);
  });

  test("90: any name, and metadata", () => {
    const names = ["__proto__", "constructor", "a\\u0000b", "*/ }; ret;", "x".repeat(1000)];
    const text = header(...names.map((name) => [name, "U8", "0", "0,0"] as const).map(copy));
    const file = open(build(`{"__metadata__":{"format":"pt"},${text.slice(1)}`, 0));
    expect(file.tensors.size).toBe(names.length);
    expect(file.tensors.get("__proto__")?.shape).toEqual([0]);
    expect(file.metadata.get("format")).toBe("pt");
  });

  test("empty tensors, scalars, two F4 in a byte, no tensors", () => {
    const text = header(
      ["zero", "F32", "0,9007199254740991,9007199254740991", "0,0"],
      ["scalar", "F32", "", "0,4"],
      ["packed", "F4", "2,3", "4,7"],
      ["end", "I64", "3,0", "7,7"],
    );
    expect(open(build(text, 7)).read("packed")).toHaveLength(3);
    expect(open(build("{}   ", 0)).tensors.size).toBe(0);
  });

  test("91: as many empty tensors as there may be, and one more", () => {
    const parts = Array.from(
      { length: (1 << 18) + 1 },
      (_, index) => `"t${index}":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`,
    );
    const start = process.cpuUsage();
    const most = build(`{${parts.slice(1).join(",")}}`, 0);
    expect(open(most).tensors.size).toBe(1 << 18);
    const more = build(`{${parts.join(",")}}`, 0);
    expect(failure(() => open(more)).code).toBe("E_LIMIT_TENSORS");
    expect(process.cpuUsage(start).user).toBeLessThan(10_000_000);
  });
});

function copy(tensor: readonly [string, string, string, string]): [string, string, string, string] {
  return [...tensor];
}

test("mutated files: only FarrierError", () => {
  const next = random(2);
  const seed = build(`{"__metadata__":{"format":"pt"},${two.slice(1)}`, 12);
  const file = root.file("mutated.safetensors");
  let accepted = 0;
  for (let round = 0; round < 3000; round++) {
    fs.writeFileSync(file, mutate(seed, next));
    const ok = survives(() => {
      const opened = SafetensorsFile.open(file);
      for (const name of opened.tensors.keys()) opened.read(name);
      opened.close();
    });
    if (ok) accepted++;
  }
  expect(accepted).toBeGreaterThan(0);
});

describe("writing", () => {
  const bytes = (...values: readonly number[]): Uint8Array => Uint8Array.from(values);
  const tensors = new Map<string, TensorToWrite>([
    ["small", inMemory("i8", [3], bytes(1, 2, 3))],
    [
      "z",
      { dtype: "f32", shape: [2], chunks: () => [bytes(1, 2, 3), bytes(4, 5, 6, 7), bytes(8)] },
    ],
    ["é\n", inMemory("bf16", [1, 1], bytes(9, 9))],
    ["empty", inMemory("i64", [0, 4], bytes())],
  ]);

  test("what is written is read back, aligned, and the same whatever the order", () => {
    const file = root.file("written.safetensors");
    const hash = writeSafetensors(
      file,
      tensors,
      new Map([
        ["b", "2"],
        ["a", "1"],
      ]),
    );
    const read = SafetensorsFile.open(file);
    expect([...read.tensors.keys()]).toEqual(["empty", "z", "é\n", "small"]);
    for (const [name, entryRead] of read.tensors) {
      const expected = [...(tensors.get(name)?.chunks() ?? [])].flatMap((chunk) => [...chunk]);
      expect([...read.read(name)]).toEqual(expected);
      expect(entryRead.shape).toEqual(tensors.get(name)?.shape);
    }
    expect(read.dataOffset % 8).toBe(0);
    expect(read.metadata.get("a")).toBe("1");
    expect(read.file.hash()).toEqual(hash);
    const again = root.file("again.safetensors");
    const reversed = new Map([...tensors].reverse());
    expect(
      writeSafetensors(
        again,
        reversed,
        new Map([
          ["a", "1"],
          ["b", "2"],
        ]),
      ),
    ).toEqual(hash);
  });

  test("a tensor of the wrong length leaves nothing behind", () => {
    const before = fs.readdirSync(root.path);
    for (const chunk of [bytes(1), bytes(1, 2, 3, 4, 5)]) {
      const wrong = new Map([["a", inMemory("f32", [1], chunk)]]);
      const error = failure(() => writeSafetensors(root.file("wrong.safetensors"), wrong));
      expect(error.code).toBe("E_INTERNAL");
    }
    expect(fs.readdirSync(root.path)).toEqual(before);
  });

  test("a directory that is not there is E_IO; a caller's own error passes", () => {
    expect(failure(() => writeSafetensors(root.file("no/x.safetensors"), tensors)).code).toBe(
      "E_IO",
    );
    const throwing: TensorToWrite = {
      dtype: "u8",
      shape: [1],
      chunks: () => {
        throw new FarrierError("E_WEIGHTS", "mine");
      },
    };
    const file = root.file("throwing.safetensors");
    expect(failure(() => writeSafetensors(file, new Map([["a", throwing]]))).code).toBe(
      "E_WEIGHTS",
    );
    expect(fs.existsSync(file)).toBe(false);
  });
});
