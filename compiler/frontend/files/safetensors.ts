/** Reads safetensors files: the header is checked whole before a byte of data is touched. */
import { type DType, dtypes } from "../../ir/dtype.js";
import { FarrierError } from "../../errors.js";
import { type JsonCodes, JsonScanner } from "./json-scanner.js";
import { ModelDirectory, printable, type SourceFile } from "./source-file.js";
import path from "node:path";

/** The format's own limit on its header. */
const maxHeaderBytes = 100_000_000;
/** More names than any published shard has, by an order of magnitude. */
const maxTensors = 1 << 18;
const maxRank = 64;

const codes: JsonCodes = {
  syntax: "E_ST_HEADER",
  duplicate: "E_ST_DUPLICATE",
  number: "E_ST_NUMBER",
};

export const dtypeOfSafetensors: ReadonlyMap<string, DType> = new Map(
  (Object.keys(dtypes) as DType[]).flatMap((dtype) => {
    const name = dtypes[dtype].safetensors;
    return name === null ? [] : [[name, dtype] as const];
  }),
);

export interface SafetensorsEntry {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** First byte and the byte after the last, counted from the start of the data. */
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  /** In the order of the file's data. */
  readonly tensors: ReadonlyMap<string, SafetensorsEntry>;
  readonly metadata: ReadonlyMap<string, string>;
  /** Where the data starts in the file. */
  readonly dataOffset: number;
}

/** A checked header with its file; data is read when it is asked for. */
export class SafetensorsFile {
  readonly file: SourceFile;
  readonly tensors: ReadonlyMap<string, SafetensorsEntry>;
  readonly metadata: ReadonlyMap<string, string>;
  readonly dataOffset: number;

  constructor(file: SourceFile) {
    const header = readHeader(file);
    this.file = file;
    this.tensors = header.tensors;
    this.metadata = header.metadata;
    this.dataOffset = header.dataOffset;
  }

  /** Opens a file that the user named (a golden file, an input). */
  static open(file: string): SafetensorsFile {
    const directory = ModelDirectory.at(path.dirname(file));
    const source = directory.openNamed(path.basename(file));
    try {
      return new SafetensorsFile(source);
    } catch (error) {
      source.close();
      throw error;
    }
  }

  /** The tensor's bytes, little end first, packed. */
  read(name: string): Uint8Array {
    const { begin, end } = this.entry(name);
    return this.file.readRange(this.dataOffset + begin, end - begin);
  }

  entry(name: string): SafetensorsEntry {
    const entry = this.tensors.get(name);
    if (entry !== undefined) return entry;
    const names = [...this.tensors.keys()].slice(0, 12).map(printable).join(", ");
    throw new FarrierError("E_WEIGHTS", `no tensor ${JSON.stringify(printable(name))}`, {
      file: this.file.path,
      hint: `the file holds ${names}${this.tensors.size > 12 ? ", ..." : ""}`,
    });
  }

  close(): void {
    this.file.close();
  }
}

export function readHeader(
  file: Pick<SourceFile, "size" | "path" | "readRange">,
): SafetensorsHeader {
  const lengthError = (what: string): FarrierError =>
    new FarrierError("E_ST_HEADER_LEN", what, {
      file: file.path,
      offset: 0,
      hint: "give a safetensors file, all of it",
    });
  if (file.size < 8) {
    throw lengthError(`${file.size} bytes: too short for the 8 bytes of the header's length`);
  }
  const declared = new DataView(file.readRange(0, 8).buffer).getBigUint64(0, true);
  if (declared > BigInt(maxHeaderBytes)) {
    throw lengthError(`a header of ${declared} bytes, at most ${maxHeaderBytes} are allowed`);
  }
  const length = Number(declared);
  if (8 + length > file.size) {
    throw lengthError(`a header of ${length} bytes, ${file.size - 8} are left in the file`);
  }
  const dataOffset = 8 + length;
  const bytes = file.readRange(8, length);
  const header = parseHeader(bytes, file.path);
  const tensors = inFileOrder(header.tensors);
  checkOffsets(tensors, file.size - dataOffset, file.path);
  return { tensors, metadata: header.metadata, dataOffset };
}

function parseHeader(
  bytes: Uint8Array,
  file: string,
): { tensors: Map<string, SafetensorsEntry>; metadata: Map<string, string> } {
  const scanner = new JsonScanner(bytes, {
    file,
    codes,
    base: 8,
    maxDepth: 4,
    maxBytes: maxHeaderBytes,
  });
  if (bytes[0] !== 0x7b) throw scanner.error("the header does not start with {", 0);
  const tensors = new Map<string, SafetensorsEntry>();
  let metadata = new Map<string, string>();
  scanner.object((name, at) => {
    if (name === "__metadata__") {
      metadata = readMetadata(scanner);
      return;
    }
    if (tensors.size === maxTensors) {
      throw scanner.error(`more than ${maxTensors} tensors`, at, "E_LIMIT_TENSORS");
    }
    tensors.set(name, readEntry(scanner, name, at));
  });
  scanner.end();
  return { tensors, metadata };
}

function readMetadata(scanner: JsonScanner): Map<string, string> {
  const metadata = new Map<string, string>();
  const bad = (what: string, at?: number): FarrierError =>
    scanner.error(what, at, "E_ST_METADATA", "__metadata__");
  if (scanner.kind() !== "object") throw bad(`expected an object, found ${scanner.kind()}`);
  scanner.object((key, at) => {
    const kind = scanner.kind();
    if (kind !== "string") {
      throw bad(`${JSON.stringify(printable(key))}: expected a string, found ${kind}`, at);
    }
    metadata.set(key, scanner.string());
  });
  return metadata;
}

function readEntry(scanner: JsonScanner, name: string, at: number): SafetensorsEntry {
  const error = (what: string, offset: number, code: string): FarrierError =>
    scanner.error(what, offset, code, tensorPlace(name));
  let dtypeName: string | undefined;
  let shape: number[] | undefined;
  let offsets: number[] | undefined;
  scanner.object((key, keyAt) => {
    if (key === "dtype") dtypeName = scanner.string();
    else if (key === "shape") shape = readNaturals(scanner, maxRank, "shape", error);
    else if (key === "data_offsets") offsets = readNaturals(scanner, 2, "data_offsets", error);
    else {
      const what = `unknown field ${JSON.stringify(printable(key))}`;
      throw error(what, keyAt, codes.syntax);
    }
  });
  const [begin, end] = offsets ?? [];
  if (dtypeName === undefined || shape === undefined || begin === undefined || end === undefined) {
    const what = "expected dtype, shape and data_offsets of two numbers";
    throw error(what, at, codes.syntax);
  }
  const dtype = dtypeOfSafetensors.get(dtypeName);
  if (dtype === undefined) {
    const known = [...dtypeOfSafetensors.keys()].join(", ");
    const what = `the dtype ${JSON.stringify(printable(dtypeName))}, expected one of ${known}`;
    throw error(what, at, "E_ST_DTYPE");
  }
  if (begin > end) {
    const what = `data_offsets ${begin}..${end} run backwards`;
    throw error(what, at, "E_ST_OFFSETS");
  }
  const bits = bitsOf(shape, dtype);
  if (bits === null) {
    const what = `shape [${shape.join(", ")}] overflows 2^53`;
    throw error(what, at, "E_SIZE_OVERFLOW");
  }
  if (bits % 8 !== 0) {
    const what = `${bits} bits do not end on a byte`;
    throw error(what, at, "E_ST_ALIGN");
  }
  if (bits / 8 !== end - begin) {
    const what = `[${shape.join(", ")}] of ${dtypeName} needs ${bits / 8} bytes, has ${end - begin}`;
    throw error(what, at, "E_ST_SIZE");
  }
  return { dtype, shape, begin, end };
}

function readNaturals(
  scanner: JsonScanner,
  max: number,
  what: string,
  error: (what: string, offset: number, code: string) => FarrierError,
): number[] {
  const values: number[] = [];
  if (scanner.kind() !== "array") {
    throw error(`${what}: expected a list`, scanner.position, codes.syntax);
  }
  scanner.array((index) => {
    if (index === max) {
      throw error(`${what}: more than ${max} numbers`, scanner.position, codes.syntax);
    }
    values.push(scanner.natural());
  });
  return values;
}

/** Bits of the tensor, or null where a factor leaves exact numbers. */
function bitsOf(shape: readonly number[], dtype: DType): number | null {
  if (shape.includes(0)) return 0;
  let bits = dtypes[dtype].bits;
  for (const size of shape) {
    bits *= size;
    if (!Number.isSafeInteger(bits)) return null;
  }
  return bits;
}

function inFileOrder(tensors: Map<string, SafetensorsEntry>): Map<string, SafetensorsEntry> {
  let last: SafetensorsEntry = { dtype: "u8", shape: [], begin: 0, end: 0 };
  let sorted = true;
  for (const entry of tensors.values()) {
    sorted &&= byOffset(last, entry) <= 0;
    last = entry;
  }
  return sorted ? tensors : new Map([...tensors].sort(([, a], [, b]) => byOffset(a, b)));
}

const byOffset = (a: SafetensorsEntry, b: SafetensorsEntry): number =>
  a.begin - b.begin || a.end - b.end;

/** Tensors cover the data from its first byte to the end of the file, once each. */
function checkOffsets(
  tensors: ReadonlyMap<string, SafetensorsEntry>,
  dataBytes: number,
  file: string,
): void {
  let expected = 0;
  let last: string | undefined;
  const bad = (name: string | undefined, what: string): FarrierError =>
    new FarrierError("E_ST_OFFSETS", what, {
      file,
      ...(name === undefined ? {} : { where: tensorPlace(name) }),
    });
  for (const [name, entry] of tensors) {
    if (entry.begin !== expected) {
      const fault = entry.begin > expected ? "leaves a hole after" : "overlaps what ends at";
      throw bad(name, `data starts at ${entry.begin} and ${fault} ${expected}`);
    }
    if (entry.end > dataBytes) {
      throw bad(name, `data ends at ${entry.end}, the file has ${dataBytes} bytes of data`);
    }
    expected = entry.end;
    last = name;
  }
  if (expected !== dataBytes) {
    throw bad(last, `the last tensor ends at ${expected}, the file's data at ${dataBytes}`);
  }
}

const tensorPlace = (name: string): string => `tensor ${JSON.stringify(printable(name))}`;
