import fs from "node:fs";
import { describe, expect, test } from "vitest";
import { ConfigReader } from "./config-reader.js";
import { failure, mutate, random, survives, temporaryDirectory } from "./failure.testing.js";
import { ModelDirectory } from "./source-file.js";

const parse = (value: unknown): ConfigReader => {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return ConfigReader.parse(new Uint8Array(Buffer.from(text)), "config.json");
};

const sample = {
  hidden_size: 64,
  eps: 1e-5,
  theta: 10000,
  use_cache: true,
  act: "silu",
  pad: null,
  rope: { type: "llama3", factor: 8.0, extra: { a: 1 } },
  eos: [1, 2],
  dead: { x: 1 },
};

test("typed access", () => {
  const config = parse(sample);
  expect(config.int("hidden_size", { min: 1, max: 1 << 20 })).toBe(64);
  expect(config.number("eps", { above: 0 })).toBe(1e-5);
  expect(config.number("theta")).toBe(10000);
  expect(config.boolean("use_cache")).toBe(true);
  expect(config.string("act")).toBe("silu");
  expect(config.optionalInt("pad")).toBeUndefined();
  expect(config.optionalInt("absent")).toBeUndefined();
  expect(config.optionalInts("eos")).toEqual([1, 2]);
  expect(config.nested("rope").number("factor")).toBe(8);
  expect(config.string("rope.type")).toBe("llama3");
  expect([config.has("pad"), config.has("act"), config.has("rope.factor")]).toEqual([
    false,
    true,
    true,
  ]);
});

test("unread keys: what nobody asked for, member by member where an object was entered", () => {
  const config = parse(sample);
  config.int("hidden_size");
  config.optionalString("pad");
  config.nested("rope").number("factor");
  config.markRead("eps", "use_cache");
  config.raw("eos");
  expect(config.unread().map(({ path, value }) => `${path}=${value}`)).toEqual([
    "theta=10000",
    'act=the string "silu"',
    'rope.type=the string "llama3"',
    "rope.extra=an object",
    "dead=an object",
  ]);
});

test("an empty object that was entered is read", () => {
  const config = parse({ rope: {} });
  expect(config.unread()).toHaveLength(1);
  config.optionalNested("rope");
  expect(config.unread()).toEqual([]);
});

describe("row 95: E_CONFIG names the field", () => {
  test.each<[string, (config: ConfigReader) => unknown, string]>([
    ["a number as a string", (c) => c.int("n"), 'n: expected an integer, found the string "64"'],
    ["a fraction", (c) => c.int("f"), "f: expected an integer, found 64.5"],
    ["an integer with a point", (c) => c.int("p"), "p: expected an integer, found 64.0"],
    ["missing", (c) => c.int("absent"), "absent: expected an integer, found nothing"],
    ["null", (c) => c.string("z"), "z: expected a string, found null"],
    ["a nested field", (c) => c.nested("o").boolean("b"), "o.b: expected true or false, found 1"],
    ["a nested field by path", (c) => c.number("o.s"), "o.s: expected a number, found the string"],
    ["an object for a number", (c) => c.number("o"), "o: expected a number, found an object"],
    ["a number for an object", (c) => c.nested("f"), "f: expected an object, found 64.5"],
    ["a list's member", (c) => c.optionalInts("l"), "l[1]: expected an integer, found true"],
  ])("%s", (_, read, text) => {
    const config = parse('{"n":"64","f":64.5,"p":64.0,"z":null,"o":{"b":1,"s":"x"},"l":[1,true]}');
    const error = failure(() => read(config));
    expect(error.code).toBe("E_CONFIG");
    expect(error.message).toContain(text);
    expect(error.message).toContain("config.json");
  });

  test.each(["", "{", "[]", "1", '{"a":1,"a":2}', '{"a":01}', '{"a":1}}', "\ufeff{}"])(
    "the text %j",
    (text) => {
      expect(failure(() => parse(text)).code).toBe("E_CONFIG");
    },
  );

  test("absent, a directory, 200 MB", () => {
    const root = temporaryDirectory();
    const directory = ModelDirectory.at(root.path);
    expect(failure(() => ConfigReader.open(directory)).code).toBe("E_CONFIG");
    fs.mkdirSync(root.file("d"));
    expect(failure(() => ConfigReader.open(directory, "d")).code).toBe("E_EXT_NOT_FILE");
    fs.writeFileSync(root.file("config.json"), "{}");
    fs.truncateSync(root.file("config.json"), 200_000_000);
    const error = failure(() => ConfigReader.open(directory));
    expect([error.code, error.message.includes("200000000")]).toEqual(["E_CONFIG", true]);
    directory.close();
    root.remove();
  });
});

describe("row 97: E_CONFIG_VALUE", () => {
  test.each<[string, (config: ConfigReader) => unknown, string]>([
    ["zero", (c) => c.int("zero", { min: 1 }), "zero: expected at least 1, found 0"],
    ["a billion layers", (c) => c.int("big", { min: 1, max: 4096 }), "found 1000000000"],
    ["2^53 + 1", (c) => c.int("huge"), "found 9007199254740993"],
    ["eps <= 0", (c) => c.number("zero", { above: 0 }), "expected more than 0, found 0"],
    ["infinite", (c) => c.number("inf"), "expected a finite number, found Infinity"],
    ["overflow", (c) => c.number("over"), "found 1e400"],
  ])("%s", (_, read, text) => {
    const config = parse(
      '{"zero":0,"big":1000000000,"huge":9007199254740993,"inf":Infinity,"over":1e400}',
    );
    const error = failure(() => read(config));
    expect(error.code).toBe("E_CONFIG_VALUE");
    expect(error.message).toContain(text);
  });

  test("infinities where they are meant", () => {
    expect(parse('{"l":[0.0, Infinity]}').optionalNumbers("l", { nonFinite: true })).toEqual([
      0,
      Infinity,
    ]);
  });
});

test("mutated configurations: only FarrierError", () => {
  const next = random(3);
  const seed = new Uint8Array(Buffer.from(JSON.stringify(sample)));
  for (let round = 0; round < 3000; round++) {
    const bytes = mutate(seed, next);
    survives(() => {
      const config = ConfigReader.parse(bytes, "config.json");
      config.unread();
      config.optionalNested("rope")?.optionalNumber("factor");
      config.int("hidden_size");
    });
  }
});
