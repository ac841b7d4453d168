/**
 * Typed access to `config.json`. It remembers what was read, so that a family's table can refuse
 * every key that nobody understood instead of ignoring it.
 */
import { FarrierError } from "../../errors.js";
import {
  configCodes,
  describeJson,
  isJsonArray,
  isJsonObject,
  JsonNumber,
  type JsonObject,
  type JsonValue,
  parseJson,
} from "./json.js";
import { type ModelDirectory, printable } from "./source-file.js";

const maxBytes = 16 * 1024 * 1024;

export interface IntRange {
  readonly min?: number;
  readonly max?: number;
}

export interface NumberRange extends IntRange {
  /** The value must be larger than this. */
  readonly above?: number;
  /** Accept NaN and infinities, which Python writes. */
  readonly nonFinite?: boolean;
}

export interface UnreadKey {
  readonly path: string;
  /** The value, for a message. */
  readonly value: string;
  readonly json: JsonValue;
}

/**
 * Paths are keys joined by points, `rope_scaling.factor`. A key whose value is `null` counts as
 * absent, as in transformers. Wrong types are `E_CONFIG`; values out of range `E_CONFIG_VALUE`.
 */
export class ConfigReader {
  readonly file: string;
  readonly #object: JsonObject;
  readonly #prefix: string;
  readonly #read: Set<string>;

  private constructor(file: string, object: JsonObject, prefix: string, read: Set<string>) {
    this.file = file;
    this.#object = object;
    this.#prefix = prefix;
    this.#read = read;
  }

  static open(directory: ModelDirectory, name = "config.json"): ConfigReader {
    const source = directory.open(name, { codes: { missing: "E_CONFIG", path: "E_CONFIG" } });
    if (source.size > maxBytes) {
      const what = `${source.size} bytes, at most ${maxBytes} are read`;
      throw new FarrierError("E_CONFIG", what, { file: source.path });
    }
    return ConfigReader.parse(source.readAll(), source.path);
  }

  static parse(bytes: Uint8Array, file: string): ConfigReader {
    const value = parseJson(bytes, { file, codes: configCodes, maxBytes, nonFinite: true });
    if (!isJsonObject(value)) {
      const what = `expected an object, found ${describeJson(value)}`;
      throw new FarrierError("E_CONFIG", what, { file });
    }
    return new ConfigReader(file, value, "", new Set());
  }

  /** Present and not null; does not count as read. */
  has(path: string): boolean {
    return (this.#find(path) ?? null) !== null;
  }

  /** Keys of this object, in the file's order. */
  keys(): string[] {
    return [...this.#object.keys()];
  }

  int(path: string, range: IntRange = {}): number {
    return this.#required(path, "an integer", this.optionalInt(path, range));
  }

  optionalInt(path: string, range: IntRange = {}): number | undefined {
    return this.#optional(path, (value) => this.#asInt(path, value, range));
  }

  number(path: string, range: NumberRange = {}): number {
    return this.#required(path, "a number", this.optionalNumber(path, range));
  }

  optionalNumber(path: string, range: NumberRange = {}): number | undefined {
    return this.#optional(path, (value) => this.#asNumber(path, value, range));
  }

  boolean(path: string): boolean {
    return this.#required(path, "true or false", this.optionalBoolean(path));
  }

  optionalBoolean(path: string): boolean | undefined {
    return this.#optional(path, (value) => {
      if (typeof value !== "boolean") throw this.#mismatch(path, "true or false", value);
      return value;
    });
  }

  string(path: string): string {
    return this.#required(path, "a string", this.optionalString(path));
  }

  optionalString(path: string): string | undefined {
    return this.#optional(path, (value) => this.#asString(path, value));
  }

  optionalInts(path: string, range: IntRange = {}): number[] | undefined {
    return this.#list(path, (at, value) => this.#asInt(at, value, range));
  }

  optionalNumbers(path: string, range: NumberRange = {}): number[] | undefined {
    return this.#list(path, (at, value) => this.#asNumber(at, value, range));
  }

  optionalStrings(path: string): string[] | undefined {
    return this.#list(path, (at, value) => this.#asString(at, value));
  }

  /** An object below this one; what is read there is remembered here. */
  nested(path: string): ConfigReader {
    return this.#required(path, "an object", this.optionalNested(path));
  }

  optionalNested(path: string): ConfigReader | undefined {
    const value = this.#find(path) ?? null;
    if (value === null) {
      this.markRead(path);
      return undefined;
    }
    if (!isJsonObject(value)) throw this.#mismatch(path, "an object", value);
    const prefix = `${this.#full(path)}.`;
    // Entered: from now on its members count one by one, even when it has none.
    this.#read.add(prefix);
    return new ConfigReader(this.file, value, prefix, this.#read);
  }

  /** The value as it stands; counts as read, with all that is below it. */
  raw(path: string): JsonValue | undefined {
    this.markRead(path);
    return this.#find(path);
  }

  /** For keys that a family knows and that change nothing. */
  markRead(...paths: readonly string[]): void {
    for (const path of paths) this.#read.add(this.#full(path));
  }

  /** What is left: a whole object when nothing in it was read, its unread members otherwise. */
  unread(): UnreadKey[] {
    const left: UnreadKey[] = [];
    const visit = (object: JsonObject, prefix: string): void => {
      for (const [key, json] of object) {
        const path = `${prefix}${key}`;
        if (this.#read.has(path)) continue;
        const partly =
          isJsonObject(json) && [...this.#read].some((read) => read.startsWith(`${path}.`));
        if (partly) visit(json, `${path}.`);
        else left.push({ path, value: describeJson(json), json });
      }
    };
    visit(this.#object, this.#prefix);
    return left;
  }

  /** The error for a value that is well formed and not allowed. */
  invalid(path: string, what: string, code = "E_CONFIG_VALUE"): FarrierError {
    return new FarrierError(code, what, { file: this.file, where: printable(this.#full(path)) });
  }

  #asInt(path: string, value: JsonValue, range: IntRange): number {
    if (!(value instanceof JsonNumber) || !value.isInteger) {
      throw this.#mismatch(path, "an integer", value);
    }
    return this.#inRange(path, value, range);
  }

  #asNumber(path: string, value: JsonValue, range: NumberRange): number {
    if (!(value instanceof JsonNumber)) throw this.#mismatch(path, "a number", value);
    if (range.nonFinite === true && !Number.isFinite(value.value)) return value.value;
    return this.#inRange(path, value, range);
  }

  #asString(path: string, value: JsonValue): string {
    if (typeof value !== "string") throw this.#mismatch(path, "a string", value);
    return value;
  }

  #inRange(path: string, json: JsonNumber, range: NumberRange): number {
    const { min = -Infinity, max = Infinity, above = -Infinity } = range;
    const value = json.value;
    const exact = !json.isInteger || Number.isSafeInteger(value);
    const inside = Number.isFinite(value) && value >= min && value <= max && value > above;
    if (exact && inside) return value;
    throw this.invalid(path, `expected ${describeRange(range)}, found ${describeJson(json)}`);
  }

  #list<T>(path: string, one: (path: string, value: JsonValue) => T): T[] | undefined {
    return this.#optional(path, (value) => {
      if (!isJsonArray(value)) throw this.#mismatch(path, "a list", value);
      return value.map((item, index) => one(`${path}[${index}]`, item));
    });
  }

  #optional<T>(path: string, convert: (value: JsonValue) => T): T | undefined {
    this.markRead(path);
    const value = this.#find(path) ?? null;
    return value === null ? undefined : convert(value);
  }

  #required<T>(path: string, expected: string, value: T | undefined): T {
    if (value !== undefined) return value;
    const found = this.#find(path) === null ? "null" : "nothing";
    throw this.invalid(path, `expected ${expected}, found ${found}`, "E_CONFIG");
  }

  #mismatch(path: string, expected: string, value: JsonValue): FarrierError {
    return this.invalid(path, `expected ${expected}, found ${describeJson(value)}`, "E_CONFIG");
  }

  #find(path: string): JsonValue | undefined {
    let value: JsonValue | undefined = this.#object;
    for (const key of path.split(".")) {
      if (!isJsonObject(value)) return undefined;
      value = value.get(key);
    }
    return value;
  }

  #full(path: string): string {
    return this.#prefix + path;
  }
}

function describeRange({ min, max, above }: NumberRange): string {
  const parts: string[] = [];
  if (above !== undefined) parts.push(`more than ${above}`);
  if (min !== undefined) parts.push(`at least ${min}`);
  if (max !== undefined) parts.push(`at most ${max}`);
  return parts.length > 0 ? parts.join(" and ") : "a finite number";
}
