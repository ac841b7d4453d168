/**
 * A JSON reader for files that others wrote: it sees what `JSON.parse` hides (duplicate keys,
 * digits beyond 2^53, where in the file something stands) and is bounded in depth and size.
 */
import { isUtf8 } from "node:buffer";
import { FarrierError } from "../../errors.js";

/** What each kind of failure is called in the file at hand. */
export interface JsonCodes {
  readonly syntax: string;
  readonly duplicate: string;
  readonly number: string;
}

export interface JsonOptions {
  /** For messages. */
  readonly file?: string;
  readonly codes: JsonCodes;
  /** Nesting of arrays and objects. */
  readonly maxDepth?: number;
  readonly maxBytes?: number;
  /** Accept `NaN`, `Infinity` and `-Infinity`, which Python writes. */
  readonly nonFinite?: boolean;
  /** Added to every offset in messages: where the bytes stand in their file. */
  readonly base?: number;
}

const byte = {
  tab: 0x09,
  newline: 0x0a,
  return: 0x0d,
  space: 0x20,
  quote: 0x22,
  comma: 0x2c,
  colon: 0x3a,
  backslash: 0x5c,
  openArray: 0x5b,
  closeArray: 0x5d,
  openObject: 0x7b,
  closeObject: 0x7d,
} as const;

const simpleEscapes: ReadonlyMap<number, string> = new Map([
  [0x22, '"'],
  [0x5c, "\\"],
  [0x2f, "/"],
  [0x62, "\b"],
  [0x66, "\f"],
  [0x6e, "\n"],
  [0x72, "\r"],
  [0x74, "\t"],
]);

/** What a value starts as, seen from its first byte. */
export type JsonKind = "object" | "array" | "string" | "number" | "true" | "false" | "null";

export class JsonScanner {
  readonly #bytes: Buffer;
  readonly #options: JsonOptions;
  readonly #maxDepth: number;
  #at = 0;
  #depth = 0;

  constructor(bytes: Uint8Array, options: JsonOptions) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#options = options;
    this.#maxDepth = options.maxDepth ?? 64;
    const max = options.maxBytes ?? 16 * 1024 * 1024;
    if (bytes.length > max) {
      throw this.error(`${bytes.length} bytes of JSON, at most ${max} are read`, 0);
    }
    if (!isUtf8(bytes)) throw this.error("invalid UTF-8", firstInvalidUtf8(bytes));
  }

  /** Where the scanner stands in its bytes: what `error` takes. */
  get position(): number {
    return this.#at;
  }

  error(
    what: string,
    at = this.#at,
    code = this.#options.codes.syntax,
    where?: string,
  ): FarrierError {
    return new FarrierError(code, what, {
      ...(this.#options.file === undefined ? {} : { file: this.#options.file }),
      offset: at + (this.#options.base ?? 0),
      ...(where === undefined ? {} : { where }),
    });
  }

  kind(): JsonKind {
    this.#skipSpace();
    const first = this.#bytes[this.#at];
    switch (first) {
      case byte.openObject:
        return "object";
      case byte.openArray:
        return "array";
      case byte.quote:
        return "string";
      case 0x74:
        return "true";
      case 0x66:
        return "false";
      case 0x6e:
        return "null";
      default:
        if (first === 0x2d || isDigit(first)) return "number";
        if (this.#options.nonFinite === true && (first === 0x4e || first === 0x49)) return "number";
        throw this.error(first === undefined ? "the text ends early" : "expected a value");
    }
  }

  /** Reads an object, calling `entry` with the scanner before each value; it must read the value. */
  object(entry: (key: string, keyOffset: number) => void): void {
    this.#enter(byte.openObject, "an object");
    const few: string[] = [];
    let many: Set<string> | undefined;
    for (let first = true; ; first = false) {
      this.#skipSpace();
      if (this.#take(byte.closeObject)) break;
      if (!first) {
        this.#expect(byte.comma, "a comma or }");
        this.#skipSpace();
      }
      const keyAt = this.#at;
      const key = this.string();
      if (many ? many.has(key) : few.includes(key)) {
        throw this.error(
          `the key ${JSON.stringify(key)} appears twice`,
          keyAt,
          this.#options.codes.duplicate,
        );
      }
      // Most objects have few keys: a Set for each costs more than it saves.
      if (many) many.add(key);
      else if (few.push(key) === 16) many = new Set(few);
      this.#skipSpace();
      this.#expect(byte.colon, "a colon");
      entry(key, keyAt);
    }
    this.#depth--;
  }

  /** Reads an array, calling `element` before each value; it must read the value. */
  array(element: (index: number) => void): void {
    this.#enter(byte.openArray, "an array");
    for (let index = 0; ; index++) {
      this.#skipSpace();
      if (this.#take(byte.closeArray)) break;
      if (index > 0) {
        this.#expect(byte.comma, "a comma or ]");
        this.#skipSpace();
        if (this.#bytes[this.#at] === byte.closeArray) throw this.error("expected a value");
      }
      element(index);
    }
    this.#depth--;
  }

  string(): string {
    this.#skipSpace();
    this.#expect(byte.quote, "a string");
    const bytes = this.#bytes;
    const start = this.#at;
    let end = start;
    for (; ; end++) {
      const b = bytes[end];
      if (b === undefined) throw this.error("a string does not end", start - 1);
      if (b === byte.quote) {
        this.#at = end + 1;
        return bytes.toString("utf8", start, end);
      }
      if (b === byte.backslash) break;
      if (b < 0x20) throw this.error("a control character in a string", end);
    }
    return this.#escapedString(start, end);
  }

  /** The digits of a number, checked against JSON's grammar. */
  numberText(): string {
    this.#skipSpace();
    const start = this.#at;
    let end = start;
    const bytes = this.#bytes;
    for (let b = bytes[end]; b !== undefined && isNumberByte(b); b = bytes[++end]) {
      if (end - start > 4096) throw this.error("a number of more than 4096 digits", start);
    }
    const text = bytes.toString("latin1", start, end);
    const plain = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/.test(text);
    const named = this.#options.nonFinite === true && /^(?:NaN|-?Infinity)$/.test(text) && !plain;
    if (!plain && !named) throw this.error("expected a number", start, this.#options.codes.number);
    this.#at = end;
    return text;
  }

  /** A non-negative integer written as one: no sign, point or exponent, and at most 2^53 - 1. */
  natural(): number {
    this.#skipSpace();
    const start = this.#at;
    const kind = this.kind();
    const code = this.#options.codes.number;
    if (kind !== "number") throw this.error(`expected an integer, found ${kind}`, start, code);
    const text = this.numberText();
    const value = Number(text);
    if (!/^(?:0|[1-9][0-9]*)$/.test(text)) {
      throw this.error(`expected a non-negative integer, found ${text.slice(0, 40)}`, start, code);
    }
    if (!Number.isSafeInteger(value)) {
      throw this.error(`${text.slice(0, 40)} is larger than 2^53 - 1`, start, code);
    }
    return value;
  }

  literal(): boolean | null {
    const kind = this.kind();
    if (kind !== "true" && kind !== "false" && kind !== "null") {
      throw this.error(`expected true, false or null, found ${kind}`);
    }
    if (this.#bytes.toString("latin1", this.#at, this.#at + kind.length) !== kind) {
      throw this.error("expected a value");
    }
    this.#at += kind.length;
    return kind === "null" ? null : kind === "true";
  }

  /** Nothing but blanks may follow. */
  end(): void {
    this.#skipSpace();
    if (this.#at < this.#bytes.length) throw this.error("text after the end of the value");
  }

  #escapedString(start: number, firstEscape: number): string {
    const bytes = this.#bytes;
    const parts: string[] = [];
    let from = start;
    let at = firstEscape;
    for (;;) {
      const b = bytes[at];
      if (b === undefined) throw this.error("a string does not end", start - 1);
      if (b < 0x20) throw this.error("a control character in a string", at);
      if (b !== byte.backslash && b !== byte.quote) {
        at++;
        continue;
      }
      parts.push(bytes.toString("utf8", from, at));
      if (b === byte.quote) {
        this.#at = at + 1;
        return parts.join("");
      }
      const [text, next] = this.#escape(at);
      parts.push(text);
      from = at = next;
    }
  }

  #escape(at: number): [text: string, next: number] {
    const kind = this.#bytes[at + 1];
    const simple = kind === undefined ? undefined : simpleEscapes.get(kind);
    if (simple !== undefined) return [simple, at + 2];
    if (kind !== 0x75) throw this.error("an unknown escape in a string", at);
    const unit = this.#hex(at);
    if (unit >= 0xdc00 && unit < 0xe000) throw this.error("half of a surrogate pair", at);
    if (unit < 0xd800 || unit >= 0xe000) return [String.fromCharCode(unit), at + 6];
    const second = this.#bytes[at + 6] === byte.backslash && this.#bytes[at + 7] === 0x75;
    const low = second ? this.#hex(at + 6) : 0;
    if (low < 0xdc00 || low >= 0xe000) throw this.error("half of a surrogate pair", at);
    return [String.fromCharCode(unit, low), at + 12];
  }

  #hex(at: number): number {
    const text = this.#bytes.toString("latin1", at + 2, at + 6);
    if (!/^[0-9a-fA-F]{4}$/.test(text)) throw this.error("an unknown escape in a string", at);
    return Number.parseInt(text, 16);
  }

  #enter(open: number, what: string): void {
    this.#skipSpace();
    this.#expect(open, what);
    if (++this.#depth > this.#maxDepth) {
      throw this.error(`nested deeper than ${this.#maxDepth}`, this.#at - 1);
    }
  }

  #skipSpace(): void {
    const bytes = this.#bytes;
    for (;;) {
      const b = bytes[this.#at];
      if (b !== byte.space && b !== byte.newline && b !== byte.return && b !== byte.tab) return;
      this.#at++;
    }
  }

  #take(expected: number): boolean {
    if (this.#bytes[this.#at] !== expected) return false;
    this.#at++;
    return true;
  }

  #expect(expected: number, what: string): void {
    if (this.#take(expected)) return;
    const found = this.#at >= this.#bytes.length ? "the end" : "something else";
    throw this.error(`expected ${what}, found ${found}`);
  }
}

const isDigit = (b: number | undefined): boolean => b !== undefined && b >= 0x30 && b <= 0x39;

/** Digits, letters, sign and point: a number ends at the first other byte. */
const isNumberByte = (b: number): boolean =>
  isDigit(b) || b === 0x2b || b === 0x2d || b === 0x2e || (b >= 0x41 && b <= 0x5a) || isLower(b);

const isLower = (b: number): boolean => b >= 0x61 && b <= 0x7a;

/** Where the first byte that is not UTF-8 stands, by halving; only called when there is one. */
export function firstInvalidUtf8(bytes: Uint8Array): number {
  let low = 0;
  let high = bytes.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isUtf8Prefix(bytes.subarray(0, middle + 1))) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Valid, or valid up to a last character that is cut. */
function isUtf8Prefix(bytes: Uint8Array): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: true });
    return true;
  } catch {
    return false;
  }
}
