/** Row 74: a file that is swapped while it is opened; what is read is what was checked. */
import fs from "node:fs";
import path from "node:path";
import { afterEach, expect, it, vi } from "vitest";
import { SafetensorsFile } from "../../compiler/frontend/files/safetensors.js";
import { encodeModel, node } from "../../compiler/frontend/onnx/wire/encode.testing.js";
import { farrier, listed } from "../cli/support.js";
import { temporaryDirectory } from "../support.js";
import { graphOf, Place } from "./case.js";

const bytes = (fill: number): Uint8Array => new Uint8Array(4096).fill(fill);

/** A model whose weight is all ones (by bytes), and a secret beside it that is all twos. */
function modelAt(place: Place): string {
  fs.writeFileSync(place.outside("secret"), bytes(2));
  const tensor = { name: "w", type: "f32", dims: [1024], external: { location: "w.bin" } } as const;
  const graph = {
    ...graphOf([node("Mul", ["w", "x"], ["y"])], tensor),
    inputs: [{ name: "x", type: "f32", shape: [1024] } as const],
  };
  return place.write({ "model.onnx": encodeModel({ graph }), "w.bin": bytes(1) });
}

/** Calls `swap` once, before or after the first call of `name` for w.bin. */
function swapAt(
  name: "statSync" | "openSync",
  when: "before" | "after",
  place: Place,
  swap: (file: string) => void,
): void {
  const real = fs[name] as (...args: unknown[]) => unknown;
  let done = false;
  vi.spyOn(fs, name).mockImplementation(((...args: unknown[]) => {
    const now = !done && args[0] === place.model("w.bin");
    done ||= now;
    if (now && when === "before") swap(place.model("w.bin"));
    const result = real(...args);
    if (now && when === "after") swap(place.model("w.bin"));
    return result;
  }) as never);
}

afterEach(() => vi.restoreAllMocks());

const link = (place: Place) => (file: string) => {
  fs.rmSync(file);
  fs.symlinkSync(place.outside("secret"), file);
};
const rename = (place: Place) => (file: string) => {
  fs.writeFileSync(`${file}.new`, bytes(3));
  fs.renameSync(`${file}.new`, file);
  expect(fs.readFileSync(place.model("w.bin"))[0]).toBe(3);
};

it.each([
  ["a link out, after the check", "statSync", "after", link],
  ["a link out, once it is open", "openSync", "after", link],
  ["another file, once it is open", "openSync", "after", rename],
] as const)("%s: refused", async (_, name, when, swap) => {
  const place = new Place(temporaryDirectory());
  const model = modelAt(place);
  swapAt(name, when, place, swap(place));
  const said = await farrier("compile", model, "-o", place.out("x"), "--target", "sm_80", "--json");
  expect(said.events.at(-1)).toMatchObject({ code: "E_EXT_SYMLINK", status: 2 });
  expect(listed(place.out())).toEqual([]);
});

it("another file, once everything is checked: the first one's bytes", async () => {
  const place = new Place(temporaryDirectory());
  const model = modelAt(place);
  const real = fs.fstatSync;
  // The last look at the file is by its path, after fstat: swapped at the first read.
  const read = fs.readSync;
  let done = false;
  vi.spyOn(fs, "readSync").mockImplementation((fd: number, ...args: unknown[]) => {
    if (!done && real(fd).size === 4096) {
      done = true;
      rename(place)(place.model("w.bin"));
    }
    return (read as (...all: unknown[]) => number)(fd, ...args);
  });
  const said = await farrier("compile", model, "-o", place.out("x"), "--target", "sm_80", "--json");
  expect([said.status, done]).toEqual([0, true]);
  vi.restoreAllMocks();
  const written = SafetensorsFile.open(path.join(place.out("x"), "weights.safetensors"));
  expect([...new Set(written.read([...written.tensors.keys()][0]!))]).toEqual([1]);
  written.close();
});
