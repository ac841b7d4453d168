/** The ways in which a TensorProto holds its values, behind one accessor. */
import { FarrierError } from "../../../errors.js";
import { type DType, dtypes } from "../../../ir/dtype.js";
import { type SourceFile } from "../../files/source-file.js";
import { type DataLocation, type TensorData } from "./types.js";
import { type Span, type WireReader } from "./wire-reader.js";

/** Field numbers of TensorProto's typed data. */
export const dataFields = {
  float_data: 4,
  int32_data: 5,
  string_data: 6,
  int64_data: 7,
  double_data: 10,
  uint64_data: 11,
} as const;

abstract class Data implements TensorData {
  abstract readonly byteLength: number;
  readonly location: DataLocation | null = null;
  readonly label: string;

  constructor(label: string) {
    this.label = label;
  }

  abstract bytes(): Uint8Array;

  strings(): readonly string[] {
    throw new FarrierError("E_TYPE_UNSUPPORTED", "not a tensor of strings", { where: this.label });
  }
}

/** A run of the model's own bytes, without a copy. */
export class EmbeddedData extends Data {
  readonly byteLength: number;
  override readonly location: DataLocation | null;
  readonly #view: Uint8Array;

  constructor(label: string, view: Uint8Array, location: DataLocation | null) {
    super(label);
    this.byteLength = view.length;
    this.location = location;
    this.#view = view;
  }

  bytes(): Uint8Array {
    return this.#view;
  }
}

/** A range of another file, read when it is asked for. */
export class ExternalData extends Data {
  readonly byteLength: number;
  override readonly location: DataLocation;
  readonly #file: SourceFile;
  readonly #dtype: DType;

  constructor(label: string, file: SourceFile, offset: number, byteLength: number, dtype: DType) {
    super(label);
    this.byteLength = byteLength;
    this.location = { file: file.name, offset };
    this.#file = file;
    this.#dtype = dtype;
  }

  bytes(): Uint8Array {
    const bytes = this.#file.readRange(this.location.offset, this.byteLength);
    if (this.#dtype === "bool") checkBools(bytes, this.#file.path, this.label);
    return bytes;
  }
}

/** Values that are not in a file at hand, or of a type that farrier does not have. */
export class AbsentData extends Data {
  readonly byteLength: number;
  readonly #error: () => FarrierError;

  constructor(label: string, byteLength: number, error: () => FarrierError) {
    super(label);
    this.byteLength = byteLength;
    this.#error = error;
  }

  bytes(): Uint8Array {
    throw this.#error();
  }
}

export class StringData extends Data {
  readonly byteLength = 0;
  readonly #values: readonly string[];

  constructor(label: string, values: readonly string[]) {
    super(label);
    this.#values = values;
  }

  bytes(): Uint8Array {
    throw new FarrierError("E_TYPE_UNSUPPORTED", "a tensor of strings", { where: this.label });
  }

  override strings(): readonly string[] {
    return this.#values;
  }
}

/** Values in a typed field: the message is walked again when they are asked for. */
export class FieldData extends Data {
  readonly byteLength: number;
  readonly #message: WireReader;
  readonly #field: number;
  readonly #dtype: DType;

  constructor(label: string, message: WireReader, field: number, dtype: DType, byteLength: number) {
    super(label);
    this.#message = message;
    this.#field = field;
    this.#dtype = dtype;
    this.byteLength = byteLength;
  }

  bytes(): Uint8Array {
    const reader = this.#message.again();
    const out = new Uint8Array(this.byteLength);
    const view = new DataView(out.buffer);
    let at = 0;
    while (reader.next()) {
      if (reader.field !== this.#field) reader.skip();
      else if (this.#field === dataFields.float_data || this.#field === dataFields.double_data) {
        const span = reader.fixed(this.#field === dataFields.float_data ? 4 : 8);
        out.set(reader.view(span), at);
        at += span.end - span.start;
      } else {
        // A sub-byte type's entries are bytes that hold several elements each.
        const width = Math.max(8, dtypes[this.#dtype].bits) / 8;
        reader.varints((low, high) => {
          if (width === 1) view.setUint8(at, low & 0xff);
          else if (width === 2) view.setUint16(at, low & 0xffff, true);
          else {
            view.setUint32(at, low, true);
            if (width === 8) view.setUint32(at + 4, high, true);
          }
          at += width;
        });
      }
    }
    return out;
  }
}

/** Whether an entry of `int32_data`, `int64_data` or `uint64_data` is a value of the type. */
export function fitsDType(dtype: DType, low: number, high: number): boolean {
  const { bits, kind } = dtypes[dtype];
  if (bits === 64) return true;
  const signExtended = high === (low >>> 31 === 1 ? 0xffffffff : 0);
  if (dtype === "u32") return high === 0;
  if (!signExtended) return false;
  const value = low | 0;
  if (dtype === "bool") return value === 0 || value === 1;
  const width = Math.max(8, bits);
  if (width === 32) return true;
  const signed = value >= -(2 ** (width - 1)) && value < 2 ** (width - 1);
  const unsigned = value >= 0 && value < 2 ** width;
  if (bits < 8 || kind === "float") return signed || unsigned;
  return kind === "int" ? signed : unsigned;
}

/** A bool is a byte that is 0 or 1: kernels count on it. */
export function checkBools(bytes: Uint8Array, file: string, where: string, base = 0): void {
  const bad = bytes.findIndex((value) => value > 1);
  if (bad < 0) return;
  throw new FarrierError("E_TENSOR_VALUE", `a bool of value ${bytes[bad]}, expected 0 or 1`, {
    file,
    offset: base + bad,
    where,
  });
}

export const lengthOf = (span: Span): number => span.end - span.start;
