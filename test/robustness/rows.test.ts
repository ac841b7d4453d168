/**
 * Bad inputs, by the code of the error that each gives, and controls that are accepted. What holds
 * for every case: one typed error with the code's exit status; within seconds; no file is opened
 * outside of the model's directory; and nothing is left behind.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";
import { FarrierError } from "../../compiler/errors.js";
import { packageRoot } from "../../compiler/version.js";
import { farrier, listed } from "../cli/support.js";
import { Place, type Case } from "./case.js";
import { elsewhere, ofNothingYet } from "./elsewhere.js";
import { directories } from "./directories.js";
import { externalData } from "./external.js";
import { graphs } from "./graphs.js";
import { operators } from "./operators.js";
import { wire } from "./wire.js";

const cases = [...wire, ...graphs, ...operators, ...externalData, ...directories];
/** Every rejection comes within this time. */
const seconds = 10;

const root = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "farrier-rows-")));
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

/** Paths that are opened while `body` runs. */
async function opened<T>(body: () => Promise<T>): Promise<{ result: T; paths: string[] }> {
  const paths: string[] = [];
  const spies = (["openSync", "readFileSync", "createReadStream"] as const).map((name) => {
    const real = fs[name] as (...args: unknown[]) => unknown;
    return vi.spyOn(fs, name).mockImplementation(((...args: unknown[]) => {
      if (typeof args[0] === "string") paths.push(path.resolve(args[0]));
      return real(...args);
    }) as never);
  });
  try {
    return { result: await body(), paths };
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}

/** What host code is built for. */
const ofTheMachine: ReadonlySet<string> = new Set(["/etc/machine-id", "/proc/cpuinfo"]);

async function hold(each: Case, directory: string): Promise<void> {
  const place = new Place(directory);
  const model = await each.build(place);
  const before = process.env["TMPDIR"];
  process.env["TMPDIR"] = path.join(directory, "tmp");
  const bundle = place.out("x.farrier");
  const args = each.args ?? ["--target", "sm_80"];
  const began = Date.now();
  const { result: said, paths } = await opened(() =>
    farrier("compile", model, "-o", bundle, "--json", ...args),
  ).finally(() => {
    process.env["TMPDIR"] = before;
  });
  expect((Date.now() - began) / 1000).toBeLessThan(seconds);
  expect(said.err).toBe("");
  const last = said.events.at(-1)!;
  const text = String(last["message"]);
  if (each.code === "ok") {
    expect([last.event, text]).toEqual(["compiled", "undefined"]);
    expect([said.status, listed(place.out())]).toEqual([0, ["x.farrier"]]);
    await each.check?.(bundle, said);
  } else {
    expect([last["code"], text]).toEqual([each.code, text]);
    const status = new FarrierError(each.code, "").exitStatus;
    expect([said.status, last["status"]]).toEqual([status, status]);
    expect(said.events.filter(({ event }) => event === "error")).toHaveLength(1);
    expect(listed(place.out())).toEqual([]);
    // One readable line, whatever names the file has.
    expect(text.length).toBeLessThan(4000);
    // eslint-disable-next-line no-control-regex -- what a terminal would obey
    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f]/);
    if (each.says !== undefined) expect(text).toMatch(each.says);
  }
  expect(listed(path.join(directory, "tmp"))).toEqual([]);
  const own = [place.model(), place.out(), `${directory}/tmp/`, `${packageRoot()}/`];
  const strays = paths.filter(
    (file) => !own.some((start) => file.startsWith(start)) && !ofTheMachine.has(file),
  );
  expect(strays).toEqual([]);
}

const codes = [...new Set(cases.map(({ code }) => code))].sort();
describe.each(codes)("%s", (code) => {
  it.each(
    cases.filter((each) => each.code === code).map((each) => [each.row, each.what, each] as const),
  )("row %i: %s", async (row, _what, each) => {
    const directory = fs.mkdtempSync(path.join(root, `${row}-`));
    await hold(each, directory);
    fs.rmSync(directory, { recursive: true, force: true });
  });
});

it("has every row, here or in a test that is named", () => {
  const here = new Set(cases.map(({ row }) => row));
  const rows = Array.from({ length: 120 }, (_, i) => i + 1);
  const missing = rows.filter(
    (row) => !here.has(row) && !elsewhere.has(row) && !ofNothingYet.has(row),
  );
  expect(missing).toEqual([]);
  for (const [row, { file }] of elsewhere) {
    const text = fs.readFileSync(path.join(packageRoot(), file), "utf8");
    const named = [...text.matchAll(/\brows? ((?:\d+(?:, | and )?)+)/gi)].flatMap(([, list]) =>
      list!.match(/\d+/g)!,
    );
    expect([row, file, named.includes(String(row))]).toEqual([row, file, true]);
  }
});

it("has no row of what does not exist once it does", async () => {
  for (const { command } of ofNothingYet.values())
    expect((await farrier(command, "x")).err).toContain("does not exist yet");
});
