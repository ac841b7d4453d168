/** docs/errors.md against the tables of the compiler and the runtime, and the codes in the sources. */
import fs from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { exitStatus, FarrierError } from "../../compiler/errors.js";
import { packageRoot } from "../../compiler/version.js";

const root = packageRoot();
const page = fs.readFileSync(path.join(root, "docs", "errors.md"), "utf8");
const codePattern = /E_[A-Z][A-Z0-9_]*[A-Z0-9]/g;
const codesIn = (text: string): string[] => [...new Set(text.match(codePattern) ?? [])];

const [head, catalogue] = page.split("\n## Codes\n") as [string, string];
/** The status of each code that has one of its own; every other is 2. */
const special = new Map(
  head.split("\n").flatMap((line) => {
    const [, status, , codes] = /^\| (\d+) \|([^|]*)\|(.*)\|$/.exec(line) ?? [];
    return status === undefined
      ? []
      : codesIn(codes!).map((code) => [code, Number(status)] as const);
  }),
);
const documented = (code: string): number => special.get(code) ?? exitStatus.badInput;

/** Codes that are spelled out where errors are made; patterns and examples in comments apart. */
function codesOfSources(): Map<string, string> {
  const found = new Map<string, string>();
  for (const folder of ["compiler", "templates", "runtime"])
    for (const name of fs.readdirSync(path.join(root, folder), {
      recursive: true,
      encoding: "utf8",
    })) {
      if (!/\.(ts|cc|h)$/.test(name) || /\.test\.ts$|testing/.test(name)) continue;
      const file = path.join(root, folder, name);
      const text = fs.readFileSync(file, "utf8");
      // As a string, or as the key of a table.
      for (const [, string, key] of text.matchAll(/"(E_[A-Z0-9_]+)"|^ *(E_[A-Z0-9_]+): /gm))
        if (string !== "E_CODE") found.set((string ?? key)!, `${folder}/${name}`);
    }
  return found;
}

describe("docs/errors.md", () => {
  it("gives each class the status of compiler/errors.ts", () => {
    for (const code of codesIn(page)) {
      if (code === "E_NO_ADDON") continue; // Of the runtime alone.
      expect([code, documented(code)]).toEqual([code, new FarrierError(code, "").exitStatus]);
    }
  });

  it("knows every code that has a status of its own", () => {
    const table = fs.readFileSync(path.join(root, "compiler", "errors.ts"), "utf8");
    const own = codesIn(/classOfCode[^{]*\{([^}]*)\}/.exec(table)![1]!);
    expect([...special.keys()].filter((code) => code !== "E_NO_ADDON").sort()).toEqual(own.sort());
  });

  it("agrees with the table of the runtime", () => {
    const classes: Readonly<Record<string, number>> = {
      FARRIER_BAD_INPUT: 2,
      FARRIER_UNSUPPORTED: 3,
      FARRIER_DEVICE: 4,
      FARRIER_IO: 5,
      FARRIER_INTERNAL: 70,
    };
    const table = fs.readFileSync(path.join(root, "runtime", "native", "src", "error.cc"), "utf8");
    const rows = [...table.matchAll(/\{"(E_[A-Z_]+)", (FARRIER_[A-Z_]+)\}/g)];
    expect(rows.length).toBeGreaterThan(5);
    for (const [, code, name] of rows)
      expect([code, documented(code!)]).toEqual([code, classes[name!]]);
  });

  it("lists every code of the sources, and no other", () => {
    const sources = codesOfSources();
    const listed = new Set(codesIn(catalogue));
    const missing = [...sources].filter(([code]) => !listed.has(code));
    expect(missing.map(([code, file]) => `${code} of ${file}`)).toEqual([]);
    expect([...listed].filter((code) => !sources.has(code))).toEqual([]);
  });

  it("has every code once", () => {
    const all = catalogue.match(codePattern)!.filter((code) => !["E_RT_DEAD"].includes(code));
    const twice = all.filter((code, index) => all.indexOf(code) !== index);
    expect(twice).toEqual([]);
  });
});
