import { describe, expect, test } from "vitest";
import { failure, mutate, random, survives } from "./failure.testing.js";
import { isJsonArray, isJsonObject, JsonNumber, type JsonValue, parseJson } from "./json.js";
import { firstInvalidUtf8, type JsonOptions } from "./json-scanner.js";

const codes = { syntax: "E_SYNTAX", duplicate: "E_DUPLICATE", number: "E_NUMBER" };
const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "utf8"));
const parse = (text: string | Uint8Array, options: Partial<JsonOptions> = {}): JsonValue =>
  parseJson(typeof text === "string" ? bytesOf(text) : text, { codes, ...options });

/** As JSON.parse would have it. */
function plain(value: JsonValue): unknown {
  if (value instanceof JsonNumber) return value.value;
  if (isJsonObject(value)) {
    const items = [...value].map(([key, item]) => [key, plain(item)] as const);
    return Object.fromEntries(items);
  }
  return isJsonArray(value) ? value.map(plain) : value;
}

test.each([
  "{}",
  "[]",
  ' { "a" : [ 1 , -2.5e-3 , true , false , null , "x" ] , "b" : { } } \r\n\t',
  '"\\u00e9\\ud83d\\ude00\\n\\t\\"\\\\\\/\\b\\f\\r"',
  '"é😀"',
  "-0",
  "1E+5",
  '[[[[["deep"]]]]]',
  '{"":{"":""}}',
])("%s reads as JSON.parse reads it", (text) => {
  expect(plain(parse(text))).toEqual(JSON.parse(text));
});

test.each([
  "",
  " ",
  "{",
  "[",
  "[1,]",
  "[,1]",
  "[1 2]",
  '{"a"}',
  '{"a":}',
  '{"a":1,}',
  "{a:1}",
  "{'a':1}",
  '"open',
  '"\\x"',
  '"\\u12g4"',
  '"\\ud800"',
  '"\\udc00"',
  '"\\ud800\\u0041"',
  '"a\nb"',
  "tru",
  "truth",
  "nul",
  "{} {}",
  "[1]x",
  "\ufeff{}",
  "// c\n1",
  "Infinity",
  "NaN",
])("%j is refused", (text) => {
  expect(failure(() => parse(text)).code).toBe("E_SYNTAX");
});

test.each(["01", "1.", ".5x", "1e", "--1", "-", "0x10", "1_000", "-Infinity"])(
  "the number %s is refused",
  (text) => {
    expect(["E_NUMBER", "E_SYNTAX"]).toContain(failure(() => parse(text)).code);
  },
);

test("Python's numbers are read where they are allowed", () => {
  const values = parse("[NaN, Infinity, -Infinity]", { nonFinite: true });
  expect(plain(values)).toEqual([Number.NaN, Infinity, -Infinity]);
});

test("duplicate keys are errors at any depth, also when escaped", () => {
  expect(failure(() => parse('{"a":{"b":1,"\\u0062":2}}')).code).toBe("E_DUPLICATE");
  expect(plain(parse('{"a":{"b":1},"b":{"b":1}}'))).toEqual({ a: { b: 1 }, b: { b: 1 } });
});

test("keys that objects have are keys like others", () => {
  const value = parse('{"__proto__":1,"constructor":2,"toString":3}');
  expect(isJsonObject(value) ? [...value.keys()] : []).toEqual([
    "__proto__",
    "constructor",
    "toString",
  ]);
});

test("integers beyond 2^53 keep their digits", () => {
  const value = parse("9007199254740993");
  expect(value instanceof JsonNumber && value.bigint).toBe(9007199254740993n);
  expect(value instanceof JsonNumber && value.isInteger).toBe(true);
});

describe("limits", () => {
  test("depth", () => {
    const nested = (depth: number): string => "[".repeat(depth) + "]".repeat(depth);
    expect(survives(() => parse(nested(64)))).toBe(true);
    expect(failure(() => parse(nested(65))).code).toBe("E_SYNTAX");
    expect(failure(() => parse("[".repeat(1_000_000))).code).toBe("E_SYNTAX");
    expect(failure(() => parse('{"a":'.repeat(1_000_000))).code).toBe("E_SYNTAX");
  });

  test("size and digits", () => {
    expect(failure(() => parse("[1,2]", { maxBytes: 4 })).message).toContain("at most 4");
    expect(survives(() => parse("1".repeat(4000)))).toBe(true);
    expect(survives(() => parse("1".repeat(5000)))).toBe(false);
  });
});

test("errors name the byte, counted from the file's start", () => {
  expect(failure(() => parse('{"a":1,"a":2}')).place.offset).toBe(7);
  expect(failure(() => parse('{"é":?}', { base: 8 })).place.offset).toBe(8 + 6);
});

test("invalid UTF-8 is refused at its byte", () => {
  const bytes = Uint8Array.from([0x22, 0x61, 0xc3, 0xa9, 0xff, 0x22]);
  const error = failure(() => parse(bytes));
  expect([error.code, error.place.offset]).toEqual(["E_SYNTAX", 4]);
  expect(firstInvalidUtf8(Uint8Array.from([0xed, 0xa0, 0x80]))).toBe(1);
});

test("mutated texts: only FarrierError, and what is accepted is what JSON.parse accepts", () => {
  const next = random(1);
  const seed = bytesOf('{"a":[1,-2.5e3,"x\\u00e9\\n",true,null],"b":{"c":{}},"d":"é😀"}');
  let accepted = 0;
  for (let round = 0; round < 4000; round++) {
    const bytes = mutate(seed, next);
    let value: JsonValue | undefined;
    if (survives(() => (value = parse(bytes)))) {
      accepted++;
      expect(plain(value ?? null)).toEqual(JSON.parse(Buffer.from(bytes).toString("utf8")));
    }
  }
  expect(accepted).toBeGreaterThan(50);
});
