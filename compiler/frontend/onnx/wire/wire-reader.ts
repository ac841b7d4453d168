/**
 * Protobuf's wire format over one buffer. A message is a window of the buffer, so every offset in
 * an error is the file's. Nothing is allocated by a length that the file only declares.
 */
import { isUtf8 } from "node:buffer";
import { FarrierError } from "../../../errors.js";
import { firstInvalidUtf8 } from "../../files/json-scanner.js";

export const wireType = {
  varint: 0,
  fixed64: 1,
  length: 2,
  startGroup: 3,
  endGroup: 4,
  fixed32: 5,
} as const;

/** Messages within messages, and groups within groups. */
const maxDepth = 100;
/** Longer than any name that an exporter writes, short enough to print and to hash. */
const maxNameBytes = 1 << 16;

export interface Span {
  readonly start: number;
  readonly end: number;
}

/**
 * Walks the fields of one message: `while (reader.next()) switch (reader.field) …`, each case
 * reading its value or calling `skip`.
 */
export class WireReader {
  readonly file: string;
  readonly start: number;
  readonly end: number;
  field = 0;
  wire = 0;
  /** Where the current field's tag stands. */
  tagOffset: number;
  #at: number;
  /** The last varint, as two unsigned halves. */
  #low = 0;
  #high = 0;
  readonly #bytes: Buffer;
  readonly #view: DataView;
  readonly #depth: number;
  /** Bit n: field n was seen. The fields of ONNX's messages have numbers below 32. */
  #seen = 0;

  constructor(bytes: Uint8Array, file: string, span?: Span, depth = 0, view?: DataView) {
    this.#bytes = Buffer.isBuffer(bytes)
      ? bytes
      : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.file = file;
    this.start = span?.start ?? 0;
    this.end = span?.end ?? bytes.length;
    this.#at = this.start;
    this.tagOffset = this.start;
    this.#depth = depth;
    this.#view = view ?? new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  error(code: string, what: string, offset = this.tagOffset, hint?: string): FarrierError {
    return new FarrierError(code, what, {
      file: this.file,
      offset,
      ...(hint === undefined ? {} : { hint }),
    });
  }

  /** Moves to the next field; false at the end of the message. */
  next(): boolean {
    if (this.#at >= this.end) return false;
    this.tagOffset = this.#at;
    this.#varint();
    const field = this.#high * 2 ** 29 + (this.#low >>> 3);
    const wire = this.#low & 7;
    if (field === 0 || field >= 2 ** 29) throw this.error("E_WIRE_TAG", `field number ${field}`);
    if (wire > 5) throw this.error("E_WIRE_TAG", `field ${field} has wire type ${wire}`);
    this.field = field;
    this.wire = wire;
    return true;
  }

  /** Marks a field that may appear once: protobuf would merge or overwrite without a word. */
  once(name: string): this {
    if (this.has(this.field)) {
      throw this.error("E_WIRE_DUPLICATE", `field ${name} appears twice`);
    }
    this.#seen |= 1 << this.field;
    return this;
  }

  /** Whether a field marked by `once` was seen. */
  has(field: number): boolean {
    return (this.#seen & (1 << field)) !== 0;
  }

  int64(): bigint {
    this.#expect(wireType.varint);
    this.#varint();
    return this.#signed();
  }

  /** An int32 or enum value; protobuf writes negative ones with 64 bits. */
  int32(): number {
    this.#expect(wireType.varint);
    this.#varint();
    return this.#int32();
  }

  float(): number {
    this.#expect(wireType.fixed32);
    this.#need(4);
    const value = this.#view.getFloat32(this.#at, true);
    this.#at += 4;
    return value;
  }

  /** The window of a length-delimited value. */
  span(): Span {
    this.#expect(wireType.length);
    return this.#length();
  }

  /** The bytes of a window, without a copy: a plain array, whose `slice` copies. */
  view({ start, end }: Span): Uint8Array {
    return new Uint8Array(this.#bytes.buffer, this.#bytes.byteOffset + start, end - start);
  }

  /** A reader over a nested message. */
  message(): WireReader {
    const span = this.span();
    if (this.#depth + 1 > maxDepth) {
      throw this.error("E_WIRE_DEPTH", `messages nested deeper than ${maxDepth}`);
    }
    return new WireReader(this.#bytes, this.file, span, this.#depth + 1, this.#view);
  }

  /** A new reader at this message's first field. */
  again(): WireReader {
    const span = { start: this.start, end: this.end };
    return new WireReader(this.#bytes, this.file, span, this.#depth, this.#view);
  }

  /** A name: UTF-8 of bounded length. */
  name(): string {
    const span = this.span();
    const length = span.end - span.start;
    if (length > maxNameBytes) {
      throw this.error("E_NAME_LENGTH", `a name of ${length} bytes, at most ${maxNameBytes}`);
    }
    return this.#text(span);
  }

  /** A text of any length. */
  text(): string {
    return this.#text(this.span());
  }

  /** Adds the values of a repeated int64, packed or not. */
  int64s(into: bigint[], max: number, limitCode: string): void {
    this.#repeated(wireType.varint, () => {
      this.#varint();
      if (into.length === max) throw this.error(limitCode, `more than ${max} values`);
      into.push(this.#signed());
    });
  }

  /** Adds the values of a repeated float, packed or not. */
  floats(into: number[], max: number, limitCode: string): void {
    this.#repeated(wireType.fixed32, () => {
      this.#need(4);
      if (into.length === max) throw this.error(limitCode, `more than ${max} values`);
      into.push(this.#view.getFloat32(this.#at, true));
      this.#at += 4;
    });
  }

  /** Visits a repeated varint field's values as 64-bit patterns in two unsigned halves. */
  varints(visit: (low: number, high: number) => void): void {
    this.#repeated(wireType.varint, () => {
      this.#varint();
      visit(this.#low, this.#high);
    });
  }

  /** The windows of a repeated fixed-width field: one packed run, or one value. */
  fixed(width: 4 | 8): Span {
    if (this.wire === wireType.length) {
      const span = this.#length();
      if ((span.end - span.start) % width !== 0) {
        throw this.error("E_WIRE_LENGTH", `a packed run that is no multiple of ${width} bytes`);
      }
      return span;
    }
    this.#expect(width === 4 ? wireType.fixed32 : wireType.fixed64);
    this.#need(width);
    const start = this.#at;
    this.#at += width;
    return { start, end: this.#at };
  }

  /** Passes over the current field, whatever it is. */
  skip(): void {
    const groups: number[] = [];
    for (;;) {
      switch (this.wire) {
        case wireType.varint:
          this.#varint();
          break;
        case wireType.fixed64:
          this.#need(8);
          this.#at += 8;
          break;
        case wireType.fixed32:
          this.#need(4);
          this.#at += 4;
          break;
        case wireType.length:
          this.#length();
          break;
        case wireType.startGroup:
          if (groups.push(this.field) + this.#depth > maxDepth) {
            throw this.error("E_WIRE_DEPTH", `groups nested deeper than ${maxDepth}`);
          }
          break;
        default:
          if (groups.pop() !== this.field) {
            throw this.error("E_WIRE_TAG", "a group ends that did not start");
          }
      }
      if (groups.length === 0) return;
      if (!this.next()) throw this.#truncated("a group does not end");
    }
  }

  #expect(wire: number): void {
    if (this.wire === wire) return;
    throw this.error(
      "E_WIRE_TAG",
      `field ${this.field} has wire type ${this.wire}, expected ${wire}`,
    );
  }

  #repeated(wire: number, one: () => void): void {
    if (this.wire !== wireType.length) {
      this.#expect(wire);
      one();
      return;
    }
    const { end } = this.#windowOfRun();
    while (this.#at < end) one();
    if (this.#at > end) throw this.error("E_WIRE_LENGTH", "a packed run ends inside a value");
  }

  /** The window of a packed run, with the reader at its start. */
  #windowOfRun(): Span {
    const span = this.#length();
    this.#at = span.start;
    return span;
  }

  /** Reads a length, checks it against what is left, and moves past the value. */
  #length(): Span {
    const lengthOffset = this.#at;
    this.#varint();
    const left = this.end - this.#at;
    const length = this.#high * 2 ** 32 + this.#low;
    if (length > left) {
      const declared = (BigInt(this.#high) << 32n) | BigInt(this.#low);
      throw this.error(
        "E_WIRE_LENGTH",
        `field ${this.field} declares ${declared} bytes, ${left} left`,
        lengthOffset,
        "the file is cut off or corrupt",
      );
    }
    const start = this.#at;
    this.#at += length;
    return { start, end: this.#at };
  }

  #varint(): void {
    const start = this.#at;
    let low = 0;
    let high = 0;
    for (let shift = 0; ; shift += 7) {
      if (this.#at >= this.end) throw this.#truncated("a number does not end");
      const b = this.#bytes[this.#at++] ?? 0;
      const bits = b & 0x7f;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high |= bits >>> 4;
      } else if (shift < 63) high |= bits << (shift - 32);
      else if (bits <= 1) high |= bits << 31;
      else throw this.error("E_WIRE_VARINT", "a number of more than 64 bits", start);
      if (b < 0x80) break;
      if (shift === 63) throw this.error("E_WIRE_VARINT", "a number of more than 10 bytes", start);
    }
    this.#low = low >>> 0;
    this.#high = high >>> 0;
  }

  #signed(): bigint {
    if (this.#high === 0) return BigInt(this.#low);
    return BigInt.asIntN(64, (BigInt(this.#high) << 32n) | BigInt(this.#low));
  }

  #int32(): number {
    const value = this.#low | 0;
    if (this.#high === (value < 0 ? 0xffffffff : 0)) return value;
    throw this.error("E_WIRE_VARINT", `field ${this.field} does not fit 32 bits`);
  }

  #need(count: number): void {
    if (this.end - this.#at < count) throw this.#truncated("a value does not end");
  }

  #truncated(what: string): FarrierError {
    return this.error("E_WIRE_TRUNCATED", what, this.end, "the file is cut off or corrupt");
  }

  #text({ start, end }: Span): string {
    const bytes = this.#bytes;
    // Names are short and mostly ASCII: looking at them is cheaper than a view for each.
    let ascii = end - start <= 128;
    for (let at = start; ascii && at < end; at++) ascii = (bytes[at] ?? 0x80) < 0x80;
    if (ascii) return bytes.toString("latin1", start, end);
    const view = bytes.subarray(start, end);
    if (!isUtf8(view)) {
      const offset = start + firstInvalidUtf8(view);
      throw this.error("E_NAME_UTF8", `field ${this.field} is not UTF-8`, offset);
    }
    return bytes.toString("utf8", start, end);
  }
}
