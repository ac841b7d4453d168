/** Rows 63 to 75: tensors of an ONNX model that lie in other files. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { expect } from "vitest";
import { encodeModel, floatBytes, node } from "../../compiler/frontend/onnx/wire/encode.testing.js";
import { type Case, each, graphOf, type Place } from "./case.js";

const bytes = floatBytes([1, 2, 3, 4, 5, 6]);
const fits = { location: "w.bin", offset: "0", length: "24" };

/** A model whose weight w [2, 3] has these entries. */
const modelOf = (entries: Readonly<Record<string, string>>): Uint8Array =>
  encodeModel({
    graph: graphOf([node("Add", ["x", "w"], ["y"])], {
      ...{ name: "w", type: "f32", dims: [2, 3] },
      external: entries,
    }),
  });

const external = (
  row: number,
  code: string,
  what: string,
  entries: Readonly<Record<string, string>>,
  rest: Partial<Case> & { readonly prepare?: (place: Place) => void | Promise<void> } = {},
): Case => ({
  ...{ row, what, code },
  ...rest,
  build: async (place) => {
    const model = place.write({ "model.onnx": modelOf(entries), "w.bin": bytes });
    await rest.prepare?.(place);
    return model;
  },
});

const secret = (place: Place): string => {
  fs.writeFileSync(place.outside("w.bin"), bytes);
  return place.outside("w.bin");
};

const replaced =
  (make: (file: string) => void) =>
  (place: Place): void => {
    fs.rmSync(place.model("w.bin"));
    make(place.model("w.bin"));
  };

const paths: readonly (readonly [row: number, location: string])[] = [
  ...([63, 64, 65] as const).map(
    (row) => [row, ["../../etc/passwd", "/etc/passwd", "a/../../x"][row - 63]!] as const,
  ),
  ...["C:\\x", "..\\x", "", ".", "w.bin\0.txt", "file:///etc/passwd", "C:x"].map(
    (text) => [66, text] as const,
  ),
];

/** A socket's file stays when its server is closed without being asked to. */
async function socket(file: string): Promise<void> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(file, resolve));
  server.unref();
}

/** What Hugging Face's cache looks like: the files of a snapshot are links into blobs/. */
function cached(place: Place): string {
  const [blobs, snapshot] = [place.model("blobs"), place.model("snapshots/abc")];
  for (const directory of [blobs, snapshot]) fs.mkdirSync(directory, { recursive: true });
  fs.writeFileSync(path.join(blobs, "1111"), modelOf(fits));
  fs.writeFileSync(path.join(blobs, "2222"), bytes);
  fs.symlinkSync("../../blobs/1111", path.join(snapshot, "model.onnx"));
  fs.symlinkSync("../../blobs/2222", path.join(snapshot, "w.bin"));
  return path.join(snapshot, "model.onnx");
}

const sha1 = createHash("sha1").update(bytes).digest("hex");

export const externalData: readonly Case[] = [
  ...each(paths, ([row, location]) =>
    external(row, "E_EXT_PATH", JSON.stringify(location), { ...fits, location }),
  ),
  external(67, "E_EXT_SYMLINK", "a link out of the directory", fits, {
    prepare: (place) => replaced((file) => fs.symlinkSync(secret(place), file))(place),
  }),
  external(
    68,
    "E_EXT_SYMLINK",
    "a directory that is a link",
    { ...fits, location: "sub/w.bin" },
    {
      prepare: (place) => {
        secret(place);
        fs.symlinkSync(place.outside(""), place.model("sub"));
      },
    },
  ),
  { row: 68, code: "ok", what: "Hugging Face's cache", build: cached },
  external(
    68,
    "ok",
    "a link within the directory",
    { ...fits, location: "l.bin" },
    {
      prepare: (place) => fs.symlinkSync("w.bin", place.model("l.bin")),
    },
  ),
  external(69, "E_EXT_HARDLINK", "a file of two names", fits, {
    prepare: (place) => fs.linkSync(place.model("w.bin"), place.outside("other")),
    says: /--allow-hardlinks/,
  }),
  external(69, "ok", "a file of two names that is allowed", fits, {
    prepare: (place) => fs.linkSync(place.model("w.bin"), place.outside("other")),
    args: ["--target", "sm_80", "--allow-hardlinks"],
  }),
  external(70, "E_EXT_NOT_FILE", "a FIFO", fits, {
    prepare: replaced((file) => execFileSync("mkfifo", [file])),
    says: /a FIFO/,
  }),
  external(70, "E_EXT_NOT_FILE", "a directory", fits, {
    prepare: replaced((file) => fs.mkdirSync(file)),
    says: /a directory/,
  }),
  external(70, "E_EXT_NOT_FILE", "a socket", fits, {
    prepare: async (place) => {
      fs.rmSync(place.model("w.bin"));
      await socket(place.model("w.bin"));
    },
    says: /a socket/,
  }),
  ...(["offset", "length"] as const).flatMap((key) =>
    each(["-1", "0x10", "1e400", "12abc", "", " 1", "1.0", "9007199254740993"], (text) =>
      external(71, "E_EXT_NUMBER", `the ${key} ${JSON.stringify(text)}`, { ...fits, [key]: text }),
    ),
  ),
  external(
    72,
    "E_EXT_RANGE",
    "a range that ends beyond the file",
    { ...fits, offset: "8" },
    { says: /8\.\.32.*24/ },
  ),
  external(72, "E_EXT_RANGE", "an offset of 2^52", { ...fits, offset: `${2 ** 52}` }),
  external(
    72,
    "E_EXT_SIZE",
    "a length that is not the tensor's",
    { ...fits, length: "20" },
    { says: /needs 24 bytes, has 20/ },
  ),
  external(
    73,
    "E_EXT_MISSING",
    "a file that is not there",
    { ...fits, location: "sub/none.bin" },
    { says: /model\/sub\/none\.bin/ },
  ),
  external(
    73,
    "ok",
    "keys that nobody knows",
    { ...fits, __class__: "Evil", __proto__x: "1" },
    {
      check: (_, said) => {
        const notices = said.events
          .filter(({ event }) => event === "notice")
          .map(({ text }) => text);
        expect(notices.join("\n")).toMatch(/"__class__" is ignored/);
      },
    },
  ),
  external(
    75,
    "E_EXT_CHECKSUM",
    "another checksum",
    { ...fits, checksum: "0".repeat(40) },
    { says: new RegExp(sha1) },
  ),
  external(75, "ok", "its own checksum", { ...fits, checksum: sha1 }),
];
