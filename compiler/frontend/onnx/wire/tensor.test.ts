import { createHash } from "node:crypto";
import fs from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type DType, dtypes } from "../../../ir/dtype.js";
import { failure, survives, temporaryDirectory } from "../../files/failure.testing.js";
import {
  bytesField,
  concat,
  encodeModel,
  encodeTensor,
  encodeValue,
  floatBytes,
  floatField,
  i64Tensor,
  intField,
  type TensorSpec,
  type ValueSpec,
} from "./encode.testing.js";
import { decodeOnnx, decodeOnnxTensor, type OpenOnnxModel, readOnnx } from "./model.js";
import { type OnnxTensor } from "./types.js";

const decode = (spec: TensorSpec): OnnxTensor => decodeOnnxTensor(encodeTensor(spec));
const bytesOf = (spec: TensorSpec): number[] => [...decode(spec).data.bytes()];
const raw = (length: number): Uint8Array => new Uint8Array(length);

describe("every data field", () => {
  test.each<[DType, Partial<TensorSpec>, number[]]>([
    ["f32", { floatData: [1, -2] }, [0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]],
    ["f64", { doubleData: [1, -2] }, [0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0xc0]],
    ["i64", { int64Data: [-1, 2n ** 40n] }, [...raw(8).fill(255), 0, 0, 0, 0, 0, 1, 0, 0]],
    ["u64", { uint64Data: [2n ** 64n - 1n, 1] }, [...raw(8).fill(255), 1, 0, 0, 0, 0, 0, 0, 0]],
    ["u32", { uint64Data: [2 ** 32 - 1, 1] }, [255, 255, 255, 255, 1, 0, 0, 0]],
    ["i32", { int32Data: [-2, 3] }, [254, 255, 255, 255, 3, 0, 0, 0]],
    ["i16", { int32Data: [-2, 3] }, [254, 255, 3, 0]],
    ["u16", { int32Data: [65535, 3] }, [255, 255, 3, 0]],
    ["i8", { int32Data: [-128, 127] }, [128, 127]],
    ["u8", { int32Data: [255, 0] }, [255, 0]],
    ["bool", { int32Data: [1, 0] }, [1, 0]],
    ["f16", { int32Data: [0x3c00, 0xc000] }, [0, 0x3c, 0, 0xc0]],
    ["bf16", { int32Data: [0x3f80, 0xc000] }, [0x80, 0x3f, 0, 0xc0]],
    ["e4m3fn", { int32Data: [0x38, 0xff] }, [0x38, 0xff]],
    ["e5m2fnuz", { int32Data: [0x38, 0x80] }, [0x38, 0x80]],
    ["e8m0", { int32Data: [127, 255] }, [127, 255]],
    ["i4", { int32Data: [0xf1] }, [0xf1]],
    ["u2", { int32Data: [0x0e] }, [0x0e]],
    ["e2m1", { int32Data: [0x72] }, [0x72]],
  ])("%s", (type, data, expected) => {
    expect(bytesOf({ type, dims: [2], ...data })).toEqual(expected);
    expect(bytesOf({ type, dims: [2], raw: Uint8Array.from(expected) })).toEqual(expected);
  });

  test("unpacked and in pieces", () => {
    const pieces = concat(floatField(4, 1), bytesField(4, floatBytes([2, 3])), floatField(4, 4));
    expect(bytesOf({ type: "f32", dims: [4], extra: pieces })).toEqual([
      ...floatBytes([1, 2, 3, 4]),
    ]);
    const ints = concat(intField(7, 5), bytesField(7, Uint8Array.of(6, 7)), intField(7, 8));
    const view = new BigInt64Array(
      decode({ type: "i64", dims: [4], extra: ints }).data.bytes().buffer,
    );
    expect([...view]).toEqual([5n, 6n, 7n, 8n]);
  });

  test("every dtype has a code and comes back from it", () => {
    for (const type of Object.keys(dtypes) as DType[]) {
      const size = Math.ceil((3 * dtypes[type].bits) / 8);
      const tensor = decode({ type, dims: [3], raw: raw(size) });
      expect([tensor.dtype, tensor.data.byteLength]).toEqual([type, size]);
    }
  });

  test("no elements, one element", () => {
    expect(bytesOf({ type: "f32", dims: [0, 2 ** 40, 2 ** 40] })).toEqual([]);
    expect(bytesOf({ type: "f32", dims: [0], raw: raw(0) })).toEqual([]);
    expect(bytesOf({ type: "i64", int64Data: [3] })).toEqual([3, 0, 0, 0, 0, 0, 0, 0]);
  });

  test("strings, complex numbers: there, and not to be computed with", () => {
    const strings = decode({ type: 8, dims: [2], stringData: ["a", "é"] });
    expect([strings.dtype, strings.elemType, strings.data.strings()]).toEqual([
      null,
      "STRING",
      ["a", "é"],
    ]);
    expect(failure(() => strings.data.bytes()).code).toBe("E_TYPE_UNSUPPORTED");
    const complex = decode({ type: 14, dims: [1], floatData: [1, 2] });
    expect(failure(() => complex.data.bytes()).code).toBe("E_TYPE_UNSUPPORTED");
    expect(failure(() => complex.data.strings()).code).toBe("E_TYPE_UNSUPPORTED");
    expect(failure(() => decode({ type: 8, dims: [2], stringData: ["a"] })).code).toBe(
      "E_TENSOR_SIZE",
    );
  });
});

const f32 = (rest: Partial<TensorSpec>): TensorSpec => ({
  name: "w",
  type: "f32",
  dims: [2],
  ...rest,
});

describe("rows 24-30, 59: bad tensors", () => {
  test.each<[string, TensorSpec, string, string?]>([
    ["24", f32({ dims: [-1] }), "E_DIM_NEGATIVE"],
    ["24 beside a zero", f32({ dims: [0, -1] }), "E_DIM_NEGATIVE"],
    ["25 2^53", f32({ dims: [2 ** 27, 2 ** 27] }), "E_SIZE_OVERFLOW"],
    ["25 2^63", f32({ dims: [2n ** 62n, 2] }), "E_SIZE_OVERFLOW"],
    ["25 2^64 = 0", f32({ dims: [2n ** 32n, 2n ** 32n] }), "E_SIZE_OVERFLOW"],
    ["25 bits", f32({ dims: [2 ** 49] }), "E_SIZE_OVERFLOW"],
    [
      "26",
      f32({ dims: [1024], raw: raw(4095) }),
      "E_TENSOR_SIZE",
      "needs 4096 bytes of raw_data, has 4095",
    ],
    ["26 more", f32({ raw: raw(9) }), "E_TENSOR_SIZE"],
    ["26 none", f32({}), "E_TENSOR_SIZE"],
    ["26 few floats", f32({ floatData: [1] }), "E_TENSOR_SIZE"],
    ["26 many ints", { type: "i64", dims: [1], int64Data: [1, 2] }, "E_TENSOR_SIZE"],
    ["26 other field", f32({ int64Data: [1, 2] }), "E_TENSOR_SIZE"],
    ["26 for no elements", f32({ dims: [0], raw: raw(4) }), "E_TENSOR_SIZE"],
    ["26 other field for no elements", f32({ dims: [0], int64Data: [1] }), "E_TENSOR_SIZE"],
    [
      "27",
      f32({ raw: raw(8), floatData: [1, 2] }),
      "E_TENSOR_AMBIGUOUS",
      "float_data and in raw_data",
    ],
    ["27 two fields", f32({ int32Data: [1], floatData: [1, 2] }), "E_TENSOR_AMBIGUOUS"],
    ["27 external", f32({ raw: raw(8), external: { location: "x" } }), "E_TENSOR_AMBIGUOUS"],
    ["27 location 7", f32({ raw: raw(8), location: 7 }), "E_TENSOR_AMBIGUOUS"],
    ["28 99", f32({ type: 99, raw: raw(8) }), "E_DTYPE_UNKNOWN", "99"],
    ["28 -1", f32({ type: -1, raw: raw(8) }), "E_DTYPE_UNKNOWN", "-1"],
    ["28 0", f32({ type: 0, raw: raw(8) }), "E_DTYPE_UNKNOWN"],
    ["29 int4", { type: "i4", dims: [3], raw: raw(1) }, "E_TENSOR_SIZE", "needs 2 bytes"],
    [
      "29 fp4 entries",
      { type: "e2m1", dims: [3], int32Data: [1, 2, 3] },
      "E_TENSOR_SIZE",
      "needs 2",
    ],
    ["29 int2", { type: "u2", dims: [5], raw: raw(5) }, "E_TENSOR_SIZE"],
    [
      "30",
      { type: "bool", dims: [2], raw: Uint8Array.of(1, 2) },
      "E_TENSOR_VALUE",
      "a bool of value 2",
    ],
    ["30 in a field", { type: "bool", dims: [1], int32Data: [2] }, "E_TENSOR_VALUE"],
    ["int8 of 200", { type: "i8", dims: [1], int32Data: [200] }, "E_TENSOR_VALUE"],
    ["uint8 of -1", { type: "u8", dims: [1], int32Data: [-1] }, "E_TENSOR_VALUE"],
    ["f16 of 2^16", { type: "f16", dims: [1], int32Data: [65536] }, "E_TENSOR_VALUE"],
    ["int32 of 2^32", { type: "i32", dims: [1], int32Data: [2 ** 32] }, "E_TENSOR_VALUE"],
    ["uint32 of 2^32", { type: "u32", dims: [1], uint64Data: [2 ** 32] }, "E_TENSOR_VALUE"],
    ["59", f32({ dims: [1, 1, 1, 1, 1, 1, 1, 1, 1], raw: raw(4) }), "E_LIMIT_RANK"],
    ["in segments", f32({ raw: raw(8), extra: bytesField(3) }), "E_TYPE_UNSUPPORTED"],
  ])("row %s", (_, spec, code, text) => {
    const error = failure(() => decode(spec));
    expect(error.code).toBe(code);
    if (text !== undefined) expect(error.message).toContain(text);
    if (spec.name !== undefined && code !== "E_LIMIT_RANK" && code !== "E_TYPE_UNSUPPORTED") {
      if (!/location 7/.test(error.message)) expect(error.message).toContain('tensor "w"');
    }
  });

  test.each<[string, ValueSpec, string]>([
    ["28 99", { name: "x", type: 99, shape: [] }, "E_DTYPE_UNKNOWN"],
    ["28 -1", { name: "x", type: -1, shape: [] }, "E_DTYPE_UNKNOWN"],
    ["28 0", { name: "x", type: 0, shape: [] }, "E_DTYPE_UNKNOWN"],
    ["24", { name: "x", type: "f32", shape: [-1] }, "E_DIM_NEGATIVE"],
    ["25", { name: "x", type: "f32", shape: [2n ** 60n] }, "E_SIZE_OVERFLOW"],
    ["59", { name: "x", type: "f32", shape: [1, 1, 1, 1, 1, 1, 1, 1, 1] }, "E_LIMIT_RANK"],
  ])("row %s as the type of an input", (_, input, code) => {
    const graph = { inputs: [input], outputs: [{ name: "y", type: "f32" } as const] };
    expect(failure(() => decodeOnnx(encodeModel({ graph }))).code).toBe(code);
  });

  test("60: sparse initializers and other types are seen, not decoded", () => {
    const sparse = bytesField(15, bytesField(1, encodeTensor(i64Tensor("s", [1], [1]))));
    const extra = concat(
      sparse,
      bytesField(12, encodeValue({ name: "q", typeProto: bytesField(4) })),
    );
    const decoded = decodeOnnx(encodeModel({ graph: { extra } }));
    expect(decoded.graph.sparseInitializers).toEqual(["s"]);
    expect(decoded.graph.outputs[0]?.type).toEqual({ kind: "sequence" });
  });
});

describe("external data (rows 63-75)", () => {
  let root: ReturnType<typeof temporaryDirectory>;
  const opened: OpenOnnxModel[] = [];
  const data = Uint8Array.from({ length: 64 }, (_, index) => index);

  beforeEach(() => {
    root = temporaryDirectory({ "m/w.bin": data, "outside/w.bin": data });
  });
  afterEach(() => {
    for (const model of opened.splice(0)) model.close();
    root.remove();
  });

  function read(spec: TensorSpec): OpenOnnxModel {
    const graph = { initializers: [spec], outputs: [{ name: "y", type: "f32" } as const] };
    fs.writeFileSync(root.file("m/model.onnx"), encodeModel({ graph }));
    const model = readOnnx(root.file("m/model.onnx"));
    opened.push(model);
    return model;
  }
  const external = (entries: Readonly<Record<string, string>>): TensorSpec =>
    f32({ external: { location: "w.bin", ...entries } });

  test("a range, its bytes and its place", () => {
    const model = read(external({ offset: "12", length: "8" }));
    const tensor = model.graph.initializers[0];
    expect([...(tensor?.data.bytes() ?? [])]).toEqual([12, 13, 14, 15, 16, 17, 18, 19]);
    expect(tensor?.data.location).toEqual({ file: "w.bin", offset: 12 });
    expect(model.files.map((file) => file.name)).toEqual(["model.onnx", "w.bin"]);
  });

  test("without a length: the rest of the file", () => {
    const model = read(external({ offset: "56" }));
    expect(model.graph.initializers[0]?.data.bytes()).toHaveLength(8);
    expect(failure(() => read(external({ offset: "0" }))).code).toBe("E_EXT_SIZE");
  });

  test("raw_data has its place in the model's file", () => {
    const model = read(f32({ raw: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8) }));
    const tensor = model.graph.initializers[0];
    const location = tensor?.data.location;
    expect(location?.file).toBe("model.onnx");
    const file = fs.readFileSync(root.file("m/model.onnx"));
    expect([...file.subarray(location?.offset, (location?.offset ?? 0) + 8)]).toEqual([
      1, 2, 3, 4, 5, 6, 7, 8,
    ]);
  });

  test.each(["../../etc/passwd", "/etc/passwd", "a/../../x", "C:\\x", "..\\x", "", ".", "w\0.bin"])(
    "63-66: location %j",
    (location) => {
      const error = failure(() => read(external({ location })));
      expect(error.code).toBe("E_EXT_PATH");
      expect(error.message).toContain('tensor "w"');
    },
  );

  test("66: no location", () => {
    expect(failure(() => read(f32({ location: 1 }))).code).toBe("E_EXT_PATH");
  });

  test("67, 69, 70: links and directories", () => {
    fs.symlinkSync("../outside/w.bin", root.file("m/soft"));
    fs.linkSync(root.file("outside/w.bin"), root.file("m/hard"));
    fs.mkdirSync(root.file("m/dir"));
    const code = (location: string): string =>
      failure(() => read(external({ location, length: "8" }))).code;
    expect([code("soft"), code("hard"), code("dir")]).toEqual([
      "E_EXT_SYMLINK",
      "E_EXT_HARDLINK",
      "E_EXT_NOT_FILE",
    ]);
  });

  const numbers = ["-1", "0x10", "1e400", "12abc", "1e3", " 8", "8.0", "", "9007199254740993"];
  test.each(["offset", "length"].flatMap((key) => numbers.map((text) => [key, text] as const)))(
    "71: %s %j",
    (key, text) => {
      expect(failure(() => read(external({ [key]: text }))).code).toBe("E_EXT_NUMBER");
    },
  );

  test("72: beyond the file, and of another size", () => {
    const code = (entries: Readonly<Record<string, string>>): string =>
      failure(() => read(external(entries))).code;
    expect(code({ offset: "60", length: "8" })).toBe("E_EXT_RANGE");
    expect(code({ offset: "65" })).toBe("E_EXT_RANGE");
    expect(code({ offset: "9007199254740991", length: "9007199254740991" })).toBe("E_EXT_RANGE");
    expect(code({ length: "9" })).toBe("E_EXT_SIZE");
  });

  test("73: a missing file; unknown keys are ignored with a warning", () => {
    const error = failure(() => read(external({ location: "no.bin" })));
    expect(error.code).toBe("E_EXT_MISSING");
    expect(error.message).toContain(root.file("m/no.bin"));
    const model = read(external({ length: "8", __class__: "x" }));
    expect(model.warnings).toEqual(['tensor "w": external_data key "__class__" is ignored']);
  });

  test("a key twice", () => {
    const again = bytesField(
      13,
      bytesField(1, Buffer.from("length")),
      bytesField(2, Buffer.from("4")),
    );
    const spec = f32({ external: { location: "w.bin", length: "8" }, extra: again });
    expect(failure(() => read(spec)).code).toBe("E_WIRE_DUPLICATE");
  });

  test("75: a checksum, right and wrong", () => {
    const checksum = createHash("sha1").update(data).digest("hex");
    expect(survives(() => read(external({ length: "8", checksum })))).toBe(true);
    expect(survives(() => read(external({ length: "8", checksum: checksum.toUpperCase() })))).toBe(
      true,
    );
    const wrong = checksum.replace(/^./, (c) => (c === "0" ? "1" : "0"));
    const error = failure(() => read(external({ length: "8", checksum: wrong })));
    expect(error.code).toBe("E_EXT_CHECKSUM");
  });

  test("75: an offset beyond 4 GiB", () => {
    fs.truncateSync(root.file("m/w.bin"), 5 * 2 ** 30);
    const model = read(external({ offset: String(5 * 2 ** 30 - 8), length: "8" }));
    expect(model.graph.initializers[0]?.data.bytes()).toHaveLength(8);
  });

  test("30: a bool out of range is found when it is read", () => {
    const spec: TensorSpec = {
      type: "bool",
      dims: [4],
      external: { location: "w.bin", length: "4" },
    };
    const tensor = read(spec).graph.initializers[0];
    expect(failure(() => tensor?.data.bytes()).code).toBe("E_TENSOR_VALUE");
  });

  test("bytes without a directory: the tensor is known, its values are not", () => {
    const graph = {
      initializers: [external({ length: "8" })],
      outputs: [{ name: "y", type: "f32" } as const],
    };
    const tensor = decodeOnnx(encodeModel({ graph })).graph.initializers[0];
    expect([tensor?.shape, tensor?.data.location]).toEqual([[2], null]);
    expect(failure(() => tensor?.data.bytes()).code).toBe("E_EXT_MISSING");
  });
});
