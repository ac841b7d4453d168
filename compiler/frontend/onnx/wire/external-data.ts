/** Tensors stored in other files: where the entries say, checked before anything is read. */
import { createHash } from "node:crypto";
import { type ErrorPlace, FarrierError } from "../../../errors.js";
import { type ModelDirectory, printable, type SourceFile } from "../../files/source-file.js";
import { type WireReader } from "./wire-reader.js";

export interface ExternalRange {
  readonly file: SourceFile;
  readonly offset: number;
}

const maxWarnings = 100;

/** What decoding one model shares: where its files are, and what it has to say. */
export class DecodeContext {
  /** `SourceFile.name` of the model, or null for bytes without a file. */
  readonly modelName: string | null;
  readonly directory: ModelDirectory | null;
  readonly warnings: string[] = [];
  readonly #files = new Set<SourceFile>();
  readonly #sha1 = new Map<SourceFile, string>();
  nodes = 0;

  constructor(modelName: string | null, directory: ModelDirectory | null) {
    this.modelName = modelName;
    this.directory = directory;
  }

  warn(text: string): void {
    if (this.warnings.length < maxWarnings) this.warnings.push(text);
  }

  addFile(file: SourceFile): void {
    this.#files.add(file);
  }

  /** Every file that the model's data is read from. */
  files(): SourceFile[] {
    return [...this.#files];
  }

  sha1(file: SourceFile): string {
    let digest = this.#sha1.get(file);
    if (digest === undefined) {
      const hash = createHash("sha1");
      for (const chunk of file.chunks()) hash.update(chunk);
      digest = hash.digest("hex");
      this.#sha1.set(file, digest);
    }
    return digest;
  }
}

/** One StringStringEntryProto. */
export function decodeEntry(reader: WireReader): readonly [key: string, value: string] {
  let key = "";
  let value = "";
  while (reader.next()) {
    if (reader.field === 1) key = reader.once("key").text();
    else if (reader.field === 2) value = reader.once("value").text();
    else reader.skip();
  }
  return [key, value];
}

/**
 * Finds the bytes of a tensor with external data; null where there is no directory to look in.
 *
 * @param needed bytes that dtype and shape ask for
 */
export function resolveExternal(
  entries: ReadonlyMap<string, string>,
  needed: number,
  tensor: string,
  place: ErrorPlace,
  context: DecodeContext,
): ExternalRange | null {
  for (const key of entries.keys()) {
    if (!["location", "offset", "length", "checksum"].includes(key)) {
      context.warn(`${tensor}: external_data key ${JSON.stringify(printable(key))} is ignored`);
    }
  }
  const location = entries.get("location");
  if (location === undefined) {
    throw new FarrierError("E_EXT_PATH", "external data without a location", place);
  }
  const offset = natural(entries, "offset", place) ?? 0;
  const length = natural(entries, "length", place);
  if (context.directory === null) return null;
  const file = context.directory.open(location, { where: tensor });
  context.addFile(file);
  const inFile: ErrorPlace = { ...place, hint: `the data file is ${file.path}` };
  if (offset + (length ?? 0) > file.size) {
    const what = `bytes ${offset}..${offset + (length ?? 0)} of a file of ${file.size}`;
    throw new FarrierError("E_EXT_RANGE", what, inFile);
  }
  const found = length ?? file.size - offset;
  if (found !== needed) {
    throw new FarrierError("E_EXT_SIZE", `needs ${needed} bytes, has ${found}`, inFile);
  }
  const checksum = entries.get("checksum");
  if (checksum !== undefined && checksum.toLowerCase() !== context.sha1(file)) {
    const what = `expected SHA-1 ${printable(checksum)}, found ${context.sha1(file)}`;
    throw new FarrierError("E_EXT_CHECKSUM", what, inFile);
  }
  return { file, offset };
}

function natural(
  entries: ReadonlyMap<string, string>,
  key: string,
  place: ErrorPlace,
): number | undefined {
  const text = entries.get(key);
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!/^(?:0|[1-9][0-9]*)$/.test(text) || !Number.isSafeInteger(value)) {
    const what = `external_data ${key}: expected a whole number, found ${JSON.stringify(printable(text))}`;
    throw new FarrierError("E_EXT_NUMBER", what, place);
  }
  return value;
}
