/**
 * The one way in which model data is opened. A model may name files of its own directory and no
 * other: names are checked as text, then as real paths, then on the descriptor that is read.
 */
import { constants as bufferLimits } from "node:buffer";
import fs from "node:fs";
import path from "node:path";
import { type ErrorPlace, FarrierError } from "../../errors.js";
import { type ContentHash, ContentHasher, hashChunkBytes } from "./content-hash.js";

export interface SourceOptions {
  /** Accept files with more than one name (`--allow-hardlinks`). */
  readonly allowHardlinks?: boolean;
}

/** What a bad name and a missing file are called where the reader has a better word for them. */
export interface OpenCodes {
  readonly path?: string;
  readonly missing?: string;
}

export interface OpenRequest {
  readonly codes?: OpenCodes;
  /** Who names the file: a tensor, an index entry. */
  readonly where?: string;
}

/** `readSync` takes at most 2^31 - 1 bytes at once. */
const readStep = 1 << 30;

/** One regular file, read by position through one descriptor from its check to its last byte. */
export class SourceFile {
  /** Path relative to the model directory with forward slashes: stable between machines. */
  readonly name: string;
  /** The path for messages, below the directory as the user named it. */
  readonly path: string;
  /** The path with every link resolved. */
  readonly realPath: string;
  readonly size: number;
  readonly #fd: number;
  #hash: ContentHash | undefined;
  #closed = false;

  constructor(names: { name: string; path: string; realPath: string }, fd: number, size: number) {
    this.name = names.name;
    this.path = names.path;
    this.realPath = names.realPath;
    this.size = size;
    this.#fd = fd;
  }

  /** A copy of `length` bytes at `offset`, aligned to its element size whatever the offset. */
  readRange(offset: number, length: number): Uint8Array {
    const inside = Number.isSafeInteger(offset) && Number.isSafeInteger(length);
    if (!inside || offset < 0 || length < 0 || offset + length > this.size) {
      throw new FarrierError("E_EXT_RANGE", `bytes ${offset}..${offset + length} of ${this.size}`, {
        file: this.path,
      });
    }
    if (length > bufferLimits.MAX_LENGTH) {
      throw new FarrierError("E_LIMIT_READ", `${length} bytes do not fit one buffer`, {
        file: this.path,
        hint: "read the range by the chunk",
      });
    }
    const target = new Uint8Array(length);
    this.readInto(target, offset);
    return target;
  }

  readInto(target: Uint8Array, offset: number): void {
    let at = 0;
    while (at < target.length) {
      const step = Math.min(readStep, target.length - at);
      let got: number;
      try {
        got = fs.readSync(this.#fd, target, at, step, offset + at);
      } catch (cause) {
        throw new FarrierError("E_IO", `cannot read: ${textOf(cause)}`, {
          file: this.path,
          offset: offset + at,
          cause,
        });
      }
      if (got === 0) {
        throw new FarrierError("E_IO", `the file became shorter than its ${this.size} bytes`, {
          file: this.path,
          offset: offset + at,
          hint: "do not write to a model while it is read",
        });
      }
      at += got;
    }
  }

  readAll(): Uint8Array {
    return this.readRange(0, this.size);
  }

  /** The range in pieces of at most `chunkBytes`; each piece is its own copy. */
  *chunks(
    offset = 0,
    length = this.size - offset,
    chunkBytes: number = hashChunkBytes,
  ): Generator<Uint8Array> {
    for (let at = 0; at < length; at += chunkBytes) {
      yield this.readRange(offset + at, Math.min(chunkBytes, length - at));
    }
  }

  /** SHA-256 of the content, read through the same descriptor; computed once. */
  hash(): ContentHash {
    if (this.#hash === undefined) {
      const hasher = new ContentHasher();
      for (const chunk of this.chunks()) hasher.update(chunk);
      this.#hash = hasher.digest();
    }
    return this.#hash;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    fs.closeSync(this.#fd);
  }
}

/** The directory that a model may read from; it opens each file once and closes them together. */
export class ModelDirectory {
  /** As the user named it. */
  readonly path: string;
  readonly #real: string;
  readonly #blobs: string;
  readonly #options: SourceOptions;
  readonly #opened = new Map<string, SourceFile>();

  private constructor(directory: string, real: string, options: SourceOptions) {
    this.path = directory;
    this.#real = real;
    this.#blobs = blobsOf(real);
    this.#options = options;
  }

  static at(directory: string, options: SourceOptions = {}): ModelDirectory {
    const place = { file: directory };
    const real = guarded(place, { missing: "E_NOT_FOUND" }, () => fs.realpathSync(directory));
    if (!fs.statSync(real).isDirectory()) {
      throw new FarrierError("E_EXT_NOT_FILE", "expected a directory", place);
    }
    return new ModelDirectory(directory, real, options);
  }

  /** Names of the entries, sorted; nothing is opened. */
  list(): string[] {
    const place = { file: this.path };
    return guarded(place, {}, () => fs.readdirSync(this.#real)).sort();
  }

  /** Opens `name`, a relative path that came out of a model file or is a fixed one. */
  open(name: string, request: OpenRequest = {}): SourceFile {
    const place: ErrorPlace = { file: path.join(this.path, printable(name)) };
    if (request.where !== undefined) place.where = request.where;
    const codes = request.codes ?? {};
    const relative = checkName(name, this.path, codes, request.where);
    const before = this.#opened.get(relative);
    if (before !== undefined) return before;

    const resolved = guarded(place, codes, () =>
      fs.realpathSync(path.join(this.#real, ...relative.split("/"))),
    );
    if (!this.#contains(resolved)) {
      throw new FarrierError("E_EXT_SYMLINK", `leads out of the model directory to ${resolved}`, {
        ...place,
        hint: "put a copy of the file into the model directory",
      });
    }
    const file = openRegular(
      { name: relative, path: path.join(this.path, relative), realPath: resolved },
      place,
      codes,
      this.#options.allowHardlinks !== true,
    );
    this.#opened.set(relative, file);
    return file;
  }

  /** Takes a file that the user named: the user may link and name what they like. */
  openNamed(name: string): SourceFile {
    const named = path.join(this.path, name);
    const place = { file: named };
    const codes = { missing: "E_NOT_FOUND" };
    const realPath = guarded(place, codes, () => fs.realpathSync(path.join(this.#real, name)));
    const file = openRegular({ name, path: named, realPath }, place, codes, false);
    this.#opened.set(name, file);
    return file;
  }

  /** Every file opened so far, by name. */
  files(): SourceFile[] {
    return [...this.#opened.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  close(): void {
    for (const file of this.#opened.values()) file.close();
    this.#opened.clear();
  }

  #contains(resolved: string): boolean {
    return isBelow(this.#real, resolved) || path.dirname(resolved) === this.#blobs;
  }
}

/** Opens a file that the user named, with the directory that its content may refer to. */
export function openModelFile(
  file: string,
  options: SourceOptions = {},
): { directory: ModelDirectory; file: SourceFile } {
  const directory = ModelDirectory.at(path.dirname(file), options);
  return { directory, file: directory.openNamed(path.basename(file)) };
}

/**
 * Hugging Face's cache keeps content in `blobs/` and links to it from `snapshots/<revision>/`; a
 * link into exactly that directory stays inside the model, though not inside the snapshot.
 */
function blobsOf(real: string): string {
  const parts = real.split(path.sep);
  const snapshots = parts.lastIndexOf("snapshots");
  const inSnapshot = snapshots > 0 && snapshots + 1 < parts.length;
  const repository = inSnapshot ? parts.slice(0, snapshots).join(path.sep) : path.dirname(real);
  return path.join(repository, "blobs");
}

/** By path components: `/a/model-2` is not below `/a/model`. */
function isBelow(directory: string, file: string): boolean {
  const relative = path.relative(directory, file);
  return relative !== "" && relative.split(path.sep)[0] !== ".." && !path.isAbsolute(relative);
}

/** The name in its shortest form; throws when its text alone shows that it leaves the directory. */
function checkName(
  name: string,
  directory: string,
  codes: OpenCodes,
  where: string | undefined,
): string {
  const refuse = (why: string): never => {
    const place: ErrorPlace = { file: directory };
    if (where !== undefined) place.where = where;
    throw new FarrierError(
      codes.path ?? "E_EXT_PATH",
      `the path ${JSON.stringify(printable(name))} ${why}`,
      { ...place, hint: "name a file below the model directory, with forward slashes" },
    );
  };
  if (name === "") return refuse("is empty");
  if (name.includes("\0")) return refuse("escapes model directory: it holds a NUL");
  if (name.includes("\\")) return refuse("escapes model directory: it holds a backslash");
  if (/^[A-Za-z]:|^[A-Za-z][A-Za-z0-9+.-]*:\/\//.test(name)) {
    return refuse("escapes model directory: it names a drive or a URL");
  }
  if (name.startsWith("/")) return refuse("escapes model directory: it is absolute");
  const normal = path.posix.normalize(name).replace(/\/$/, "");
  if (normal === ".." || normal.startsWith("../")) return refuse("escapes model directory");
  if (normal === ".") return refuse("is the model directory itself");
  return normal;
}

function openRegular(
  names: { name: string; path: string; realPath: string },
  place: ErrorPlace,
  codes: OpenCodes,
  refuseHardlinks: boolean,
): SourceFile {
  const real = names.realPath;
  // Looked at before it is opened: opening a device can have effects.
  const before = guarded(place, codes, () => fs.statSync(real, { bigint: true }));
  requireRegular(before, place);
  const flags =
    fs.constants.O_RDONLY |
    ((fs.constants.O_NONBLOCK as number | undefined) ?? 0) |
    ((fs.constants.O_NOFOLLOW as number | undefined) ?? 0);
  const fd = guarded(place, codes, () => fs.openSync(real, flags));
  try {
    const stat = guarded(place, codes, () => fs.fstatSync(fd, { bigint: true }));
    requireRegular(stat, place);
    // A directory on the way may have been swapped since: the path must still lead to this file.
    const again = guarded(
      place,
      codes,
      () => [fs.realpathSync(real), fs.statSync(real, { bigint: true })] as const,
    );
    if (again[0] !== real || again[1].ino !== stat.ino || again[1].dev !== stat.dev) {
      throw new FarrierError("E_EXT_SYMLINK", "changed while it was being opened", place);
    }
    if (refuseHardlinks && stat.nlink > 1n) {
      throw new FarrierError("E_EXT_HARDLINK", `the file has ${stat.nlink} names (hard links)`, {
        ...place,
        hint: "copy the file, or allow hard links with --allow-hardlinks",
      });
    }
    return new SourceFile(names, fd, Number(stat.size));
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
}

function requireRegular(stat: fs.BigIntStats, place: ErrorPlace): void {
  if (stat.isFile()) return;
  const kind = stat.isDirectory()
    ? "a directory"
    : stat.isFIFO()
      ? "a FIFO"
      : stat.isSocket()
        ? "a socket"
        : "a device";
  throw new FarrierError("E_EXT_NOT_FILE", `expected a regular file, found ${kind}`, place);
}

/** Runs one file-system call and gives its failure a code. */
function guarded<T>(place: ErrorPlace, codes: OpenCodes, call: () => T): T {
  try {
    return call();
  } catch (cause) {
    const code = errnoOf(cause);
    if (code === "ENOENT" || code === "ENOTDIR") {
      const missing = place.file === undefined ? "" : `: ${path.resolve(place.file)}`;
      throw new FarrierError(codes.missing ?? "E_EXT_MISSING", `no such file${missing}`, {
        ...place,
        cause,
      });
    }
    if (code === "ELOOP") {
      throw new FarrierError("E_EXT_SYMLINK", "a symbolic link that never ends", {
        ...place,
        cause,
      });
    }
    if (code === "ENAMETOOLONG") {
      throw new FarrierError(codes.path ?? "E_EXT_PATH", "the name is too long", {
        ...place,
        cause,
      });
    }
    if (code === "ENXIO") {
      throw new FarrierError("E_EXT_NOT_FILE", "expected a regular file", { ...place, cause });
    }
    throw new FarrierError("E_IO", textOf(cause), { ...place, cause });
  }
}

function errnoOf(error: unknown): string | undefined {
  return error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
}

const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Untrusted names go into messages without control characters and cut to a readable length. */
export function printable(text: string): string {
  const short = text.length > 120 ? `${text.slice(0, 117)}...` : text;
  // eslint-disable-next-line no-control-regex -- control characters are what is replaced
  return short.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, "?");
}
