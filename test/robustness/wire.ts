/** Rows 1 to 13: the bytes of an ONNX file. */
import fs from "node:fs";
import path from "node:path";
import { expect } from "vitest";
import {
  attr,
  bytesField,
  concat,
  encodeGraph,
  encodeModel,
  encodeNode,
  f32Tensor,
  intField,
  node,
  packedInts,
  stringField,
  tag,
  varint,
  type GraphSpec,
} from "../../compiler/frontend/onnx/wire/encode.testing.js";
import { contents } from "../cli/support.js";
import { type Case, each, graphOf, input, negated, onnx } from "./case.js";

const good = graphOf([negated]);
const whole = encodeModel({ opset: 24, graph: good });
const after = (...extra: readonly Uint8Array[]): Uint8Array => concat(whole, ...extra);

/** If in If; each nested message is the last field of its parent, so that only lengths nest. */
function nestedIfs(depth: number): Uint8Array {
  const innermost = encodeGraph({ nodes: [node("Neg", ["x"], ["v"])], outputs: [{ name: "v" }] });
  const otherwise = concat(
    stringField(1, "else_branch"),
    intField(20, 5),
    bytesField(6, innermost),
  );
  const heads: Uint8Array[] = [innermost];
  let length = innermost.length;
  const within = (field: number, ...before: readonly Uint8Array[]): void => {
    const head = concat(...before, tag(field, 2), varint(length));
    heads.push(head);
    length += head.length;
  };
  for (let level = 0; level < depth; level++) {
    within(6, stringField(1, "then_branch"), intField(20, 5));
    within(5, encodeNode(node("If", ["c"], ["v"])), bytesField(5, otherwise));
    within(1, bytesField(12, stringField(1, "v")));
  }
  within(7, intField(1, 10), bytesField(8, intField(2, 21)));
  return concat(...heads.reverse());
}

/** Field 60, a group that starts, over and over. */
function groups(depth: number): Uint8Array {
  const start = tag(60, 3);
  return new Uint8Array(Buffer.alloc(depth * start.length, start));
}

/** Length-delimited field 9 with this length, and nothing behind it. */
const lengthOnly = (length: number | bigint): Uint8Array => concat(tag(9, 2), varint(length));

const texts: readonly (readonly [string, string | Uint8Array, RegExp])[] = [
  [
    "a Git LFS pointer",
    "version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    /git lfs pull/,
  ],
  ["an HTML page", "<!DOCTYPE html><html></html>", /HTML page/],
  ["a zip", Buffer.from("PK\x03\x04\x14\0\0\0", "latin1"), /zip archive/],
  ["a pickle", Buffer.from("\x80\x02cos\nsystem\n", "latin1"), /pickle/],
  ["an ORT flatbuffer", Buffer.from("\x18\0\0\0ORTM\0\0\0\0", "latin1"), /flatbuffer/],
  ["a GGUF file", Buffer.from("GGUF\x03\0\0\0", "latin1"), /GGUF/],
];

/** Names that end a comment, a string or a statement of every language that is printed. */
const hostile = [
  "a\0b",
  "a\nb",
  'a"b',
  "a*/b",
  "}; ret;",
  "%s%n",
  "\u2028",
  "a'b`c${d}",
  "é\u{1f600}",
];

const named = (name: string): GraphSpec => ({
  inputs: [{ ...input, name }],
  outputs: [{ name: `${name}1`, type: "f32" }],
  initializers: [
    f32Tensor(
      `${name}2`,
      [64, 3],
      Array.from({ length: 192 }, (_, i) => i),
    ),
  ],
  nodes: [
    { ...node("Gemm", [name, `${name}2`], [`${name}3`], { transB: attr.int(1) }), name },
    { ...node("Softmax", [`${name}3`], [`${name}1`]), name: `${name}n` },
  ],
});

/** The name stands in JSON and the typed binding, and in no text of a kernel. */
function unsaid(name: string): (bundle: string) => void {
  return (bundle) => {
    for (const [file, bytes] of contents(bundle)) {
      if (/\.json$/.test(file)) JSON.parse(bytes.toString());
      if (/\.(ptx|c|h)$/.test(file)) expect([file, bytes.includes(name)]).toEqual([file, false]);
    }
    const plan = JSON.parse(fs.readFileSync(path.join(bundle, "plan.json"), "utf8")) as {
      entries: { inputs: { name: string }[] }[];
    };
    expect(plan.entries[0]!.inputs[0]!.name).toBe(name);
  };
}

export const wire: readonly Case[] = [
  onnx(1, "E_ONNX_EMPTY", "an empty file", new Uint8Array(), { says: /0 bytes: not a model/ }),

  onnx(
    3,
    "E_WIRE_VARINT",
    "a number of 11 bytes",
    after(tag(60, 0), Buffer.alloc(10, 0xff), varint(1)),
    {
      says: new RegExp(`byte ${whole.length + 2}`),
    },
  ),
  ...each([100, 2n ** 31n, 2n ** 63n, 2n ** 64n - 1n], (length) =>
    onnx(4, "E_WIRE_LENGTH", `a length of ${length}`, after(lengthOnly(length)), {
      says: new RegExp(`declares ${length} bytes, 0 left`),
    }),
  ),
  onnx(5, "E_WIRE_TAG", "field number 0", after(varint(0))),
  onnx(5, "E_WIRE_TAG", "wire type 6", after(tag(1, 6))),
  onnx(5, "E_WIRE_TAG", "wire type 7", after(tag(1, 7))),
  onnx(6, "E_WIRE_DEPTH", "a million groups in each other", after(groups(1e6)), { says: /100/ }),
  onnx(7, "E_GRAPH_DEPTH", "33 subgraphs in each other", nestedIfs(33), { says: /32/ }),
  onnx(7, "E_GRAPH_DEPTH", "10,000 subgraphs in each other", nestedIfs(10_000)),
  onnx(
    8,
    "ok",
    "unknown fields",
    after(intField(99, 7), stringField(98, "?"), tag(97, 5), Buffer.alloc(4)),
  ),
  onnx(8, "ok", "packed and unpacked integers", {
    graph: graphOf([
      {
        ...node("Transpose", ["x"], ["t"]),
        extra: bytesField(5, stringField(1, "perm"), packedInts(8, [1, 0]), intField(20, 7)),
      },
      node("Transpose", ["t"], ["y"], { perm: attr.ints([1, 0]) }),
    ]),
  }),
  onnx(9, "E_WIRE_DUPLICATE", "two graphs", after(bytesField(7, encodeGraph(good))), {
    says: /field graph appears twice/,
  }),
  ...each(texts, ([what, bytes, says]) =>
    onnx(10, "E_NOT_ONNX", what, new Uint8Array(Buffer.from(bytes)), { says }),
  ),
  onnx(
    11,
    "E_NAME_UTF8",
    "a name that is no UTF-8",
    concat(
      bytesField(
        7,
        encodeGraph({ ...good, extra: bytesField(1, bytesField(3, Buffer.from([0x61, 0xff]))) }),
      ),
    ),
    { says: /byte \d+/ },
  ),
  ...each(["__proto__", "constructor", "toString"], (name) =>
    onnx(12, "ok", `a tensor called ${name}`, { graph: named(name) }, { check: unsaid(name) }),
  ),
  ...each(hostile, (name) =>
    onnx(
      13,
      "ok",
      `the name ${JSON.stringify(name)}`,
      { graph: named(name) },
      { check: unsaid(name) },
    ),
  ),
  onnx(
    13,
    "ok",
    "such names in C",
    { graph: named('*/ }; ret; "\n\0') },
    {
      args: ["--target", "cpu,sm_80"],
      check: unsaid('*/ }; ret; "\n\0'),
    },
  ),
  onnx(13, "E_NAME_LENGTH", "a name of a megabyte", { graph: named("n".repeat(1 << 20)) }),
  onnx(
    13,
    "ok",
    "a name of 32 KiB",
    { graph: named("n".repeat(1 << 15)) },
    { check: unsaid("n".repeat(1 << 15)) },
  ),
];
