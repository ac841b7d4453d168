import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ContentHasher } from "./content-hash.js";
import { failure, temporaryDirectory } from "./failure.testing.js";
import { ModelDirectory, openModelFile } from "./source-file.js";

let root: ReturnType<typeof temporaryDirectory>;
let model: ModelDirectory;

beforeEach(() => {
  root = temporaryDirectory({
    "model/w.bin": "weights",
    "model/sub/v.bin": "values",
    "outside/secret": "secret",
    "model-2/x.bin": "beside",
  });
  model = ModelDirectory.at(root.file("model"));
});
afterEach(() => {
  model.close();
  root.remove();
});

describe("names (rows 63-66)", () => {
  test.each([
    "../../etc/passwd",
    "/etc/passwd",
    "a/../../x",
    "C:\\x",
    "C:/x",
    "..\\x",
    "",
    ".",
    "./",
    "..",
    "sub/..",
    "w.bin\0.txt",
    "file:///etc/passwd",
    "https://example.com/w.bin",
    "../model-2/x.bin",
  ])("%j is E_EXT_PATH", (name) => {
    const error = failure(() => model.open(name, { where: "tensor w" }));
    expect(error.code).toBe("E_EXT_PATH");
    expect(error.message).toContain("tensor w");
  });

  test.each(["w.bin", "./w.bin", "sub/../w.bin", "sub/v.bin", "sub//v.bin"])(
    "%j is read",
    (name) => {
      expect(model.open(name).size).toBeGreaterThan(0);
    },
  );

  test("two spellings are one file with one name", () => {
    expect(model.open("sub/../w.bin")).toBe(model.open("./w.bin"));
    expect(model.open("w.bin").name).toBe("w.bin");
    expect(model.files().map((file) => file.name)).toEqual(["w.bin"]);
  });

  test("a name of 5000 characters is an error, not a crash", () => {
    expect(failure(() => model.open("x".repeat(5000))).code).toBe("E_EXT_PATH");
  });
});

describe("links (rows 67-69)", () => {
  test("67: a symlink out of the directory", () => {
    fs.symlinkSync("../outside/secret", root.file("model/link"));
    const error = failure(() => model.open("link"));
    expect(error.code).toBe("E_EXT_SYMLINK");
    expect(error.message).toContain(root.file("outside/secret"));
  });

  test("68: a directory symlink out of the directory", () => {
    fs.symlinkSync("../outside", root.file("model/dir"));
    expect(failure(() => model.open("dir/secret")).code).toBe("E_EXT_SYMLINK");
  });

  test("67: a sibling whose name starts with the directory's", () => {
    fs.symlinkSync("../model-2/x.bin", root.file("model/link"));
    expect(failure(() => model.open("link")).code).toBe("E_EXT_SYMLINK");
  });

  test("a symlink inside the directory is followed", () => {
    fs.symlinkSync("sub/v.bin", root.file("model/inner"));
    expect(Buffer.from(model.open("inner").readAll()).toString()).toBe("values");
  });

  test("a link to itself", () => {
    fs.symlinkSync("loop", root.file("model/loop"));
    expect(failure(() => model.open("loop")).code).toBe("E_EXT_SYMLINK");
  });

  test("a dangling link is a missing file", () => {
    fs.symlinkSync("nowhere", root.file("model/dangling"));
    expect(failure(() => model.open("dangling")).code).toBe("E_EXT_MISSING");
  });

  test("Hugging Face's cache: snapshots link into blobs", () => {
    const hub = "hub/models--a--b";
    fs.mkdirSync(root.file(`${hub}/blobs/deep`), { recursive: true });
    fs.mkdirSync(root.file(`${hub}/snapshots/abc/onnx`), { recursive: true });
    fs.writeFileSync(root.file(`${hub}/blobs/1234`), "blob");
    fs.writeFileSync(root.file(`${hub}/blobs/deep/5678`), "deep");
    fs.writeFileSync(root.file(`${hub}/refs`), "ref");
    const links: [string, string][] = [
      ["config.json", "../../blobs/1234"],
      ["onnx/model.onnx", "../../../blobs/1234"],
      ["deep", "../../blobs/deep/5678"],
      ["refs", "../../refs"],
      ["etc", "/etc/passwd"],
    ];
    for (const [name, target] of links) {
      fs.symlinkSync(target, root.file(`${hub}/snapshots/abc/${name}`));
    }
    const snapshot = ModelDirectory.at(root.file(`${hub}/snapshots/abc`));
    expect(snapshot.open("config.json").size).toBe(4);
    const below = openModelFile(root.file(`${hub}/snapshots/abc/onnx/model.onnx`));
    expect(below.directory.open("model.onnx").size).toBe(4);
    for (const name of ["deep", "refs", "etc"]) {
      expect(failure(() => snapshot.open(name)).code).toBe("E_EXT_SYMLINK");
    }
    snapshot.close();
    below.directory.close();
  });

  test("a directory beside blobs/ may link into it", () => {
    fs.mkdirSync(root.file("blobs"));
    fs.writeFileSync(root.file("blobs/1234"), "blob");
    fs.symlinkSync("../blobs/1234", root.file("model/model.safetensors"));
    expect(model.open("model.safetensors").size).toBe(4);
  });

  test("69: a hard-linked file, and the option that allows it", () => {
    fs.linkSync(root.file("outside/secret"), root.file("model/hard"));
    const error = failure(() => model.open("hard"));
    expect(error.code).toBe("E_EXT_HARDLINK");
    expect(error.message).toContain("--allow-hardlinks");
    const allowing = ModelDirectory.at(root.file("model"), { allowHardlinks: true });
    expect(allowing.open("hard").size).toBe(6);
    allowing.close();
  });

  test("a file that the user names may be a link of either kind", () => {
    fs.symlinkSync("../outside/secret", root.file("model/soft"));
    fs.linkSync(root.file("outside/secret"), root.file("model/hard"));
    for (const name of ["soft", "hard"]) {
      const opened = openModelFile(root.file(`model/${name}`));
      expect(opened.file.size).toBe(6);
      opened.directory.close();
    }
  });
});

describe("what is no regular file (row 70)", () => {
  test("a directory", () => {
    expect(failure(() => model.open("sub")).code).toBe("E_EXT_NOT_FILE");
  });

  test("a FIFO does not block", () => {
    execFileSync("mkfifo", [root.file("model/fifo")]);
    const error = failure(() => model.open("fifo"));
    expect(error.code).toBe("E_EXT_NOT_FILE");
    expect(error.message).toContain("a FIFO");
  });

  test("a socket", async () => {
    const server = net.createServer();
    // Socket paths are short: relative to the directory they always fit.
    await new Promise<void>((resolve) => server.listen(root.file("model/s"), resolve));
    expect(failure(() => model.open("s")).code).toBe("E_EXT_NOT_FILE");
    await new Promise((resolve) => server.close(resolve));
  });

  test.skipIf(process.platform === "win32")("a device, named by the user", () => {
    const error = failure(() => openModelFile("/dev/zero"));
    expect(error.code).toBe("E_EXT_NOT_FILE");
    expect(error.message).toContain("a device");
  });
});

describe("missing and changing files (rows 73-75)", () => {
  test("73: a missing file names its resolved path", () => {
    const error = failure(() => model.open("no/such.bin"));
    expect(error.code).toBe("E_EXT_MISSING");
    expect(error.message).toContain(root.file("model/no/such.bin"));
    expect(failure(() => model.open("w.bin/below")).code).toBe("E_EXT_MISSING");
  });

  test("what the user named is E_NOT_FOUND", () => {
    expect(failure(() => openModelFile(root.file("no.onnx"))).code).toBe("E_NOT_FOUND");
    expect(failure(() => ModelDirectory.at(root.file("no"))).code).toBe("E_NOT_FOUND");
    expect(failure(() => ModelDirectory.at(root.file("model/w.bin"))).code).toBe("E_EXT_NOT_FILE");
  });

  test("74: a file swapped after it was opened is not seen", () => {
    const file = model.open("w.bin");
    fs.writeFileSync(root.file("model/new"), "WEIGHTS");
    fs.renameSync(root.file("model/new"), root.file("model/w.bin"));
    expect(Buffer.from(file.readAll()).toString()).toBe("weights");
    expect(file.hash().sha256).toBe(createHash("sha256").update("weights").digest("hex"));
  });

  test("a file that becomes shorter is E_IO", () => {
    const file = model.open("w.bin");
    fs.truncateSync(root.file("model/w.bin"), 3);
    expect(failure(() => file.readAll()).code).toBe("E_IO");
  });

  test("75: a range beyond 4 GiB", () => {
    const size = 5 * 2 ** 30;
    const fd = fs.openSync(root.file("model/big.bin"), "w");
    fs.ftruncateSync(fd, size);
    fs.writeSync(fd, "tail", size - 4);
    fs.closeSync(fd);
    const file = model.open("big.bin");
    expect(file.size).toBe(size);
    expect(Buffer.from(file.readRange(size - 6, 6)).toString()).toBe("\0\0tail");
  });

  test.each([
    [-1, 2],
    [0, 8],
    [7, 1],
    [0.5, 1],
    [Number.MAX_SAFE_INTEGER, 2],
    [Number.NaN, 1],
  ])("the range %d, %d is E_EXT_RANGE", (offset, length) => {
    expect(failure(() => model.open("w.bin").readRange(offset, length)).code).toBe("E_EXT_RANGE");
  });
});

test("hashes do not depend on how the stream is cut", () => {
  const bytes = Uint8Array.from({ length: 1000 }, (_, index) => index % 251);
  const hashOf = (cuts: readonly number[]): unknown => {
    const hasher = new ContentHasher(64);
    let at = 0;
    for (const cut of [...cuts, bytes.length]) {
      hasher.update(bytes.subarray(at, cut));
      at = cut;
    }
    return hasher.digest();
  };
  const whole = hashOf([]) as { chunks: string[]; sha256: string; size: number };
  expect(whole.chunks).toHaveLength(16);
  expect(whole.sha256).toBe(createHash("sha256").update(bytes).digest("hex"));
  expect(whole.chunks[15]).toBe(createHash("sha256").update(bytes.subarray(960)).digest("hex"));
  expect(hashOf([1, 63, 64, 65, 500, 999])).toEqual(whole);
});

test("names in messages hold no control characters", () => {
  const error = failure(() => model.open("a\nb\u001b[31m"));
  expect(path.basename(error.place.file ?? "")).toBe("a?b?[31m");
});
