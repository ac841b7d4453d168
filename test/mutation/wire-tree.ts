/** Changes of protobuf messages: fields of any depth, with the lengths around them kept right. */
import { havoc, word, type Sources } from "./havoc.js";

type Payload =
  | { readonly kind: "number"; readonly value: bigint }
  | { readonly kind: "bytes"; readonly bytes: Uint8Array }
  | { readonly kind: "message"; readonly fields: Field[] };

interface Field {
  number: number;
  wire: number;
  payload: Payload;
  /** Added to the length that is written: a lie. */
  lie?: number;
}

/** Deeper nesting is left as bytes. */
const deepest = 12;

class Parser {
  #at = 0;

  constructor(
    readonly bytes: Uint8Array,
    readonly depth: number,
  ) {}

  /** All fields, or null where this is no message. */
  fields(): Field[] | null {
    const fields: Field[] = [];
    while (this.#at < this.bytes.length) {
      const field = this.#field();
      if (field === null) return null;
      fields.push(field);
    }
    return fields;
  }

  #field(): Field | null {
    const tag = this.#varint();
    if (tag === null) return null;
    const [number, wire] = [Number(tag >> 3n), Number(tag & 7n)];
    if (number < 1 || number > 100) return null;
    const payload = this.#payload(wire);
    return payload === null ? null : { number, wire, payload };
  }

  #payload(wire: number): Payload | null {
    if (wire === 0) {
      const value = this.#varint();
      return value === null ? null : { kind: "number", value };
    }
    const length = wire === 1 ? 8 : wire === 5 ? 4 : wire === 2 ? Number(this.#varint()) : -1;
    if (length < 0 || this.#at + length > this.bytes.length) return null;
    const bytes = this.bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    if (wire !== 2 || length === 0 || this.depth === deepest || isText(bytes))
      return { kind: "bytes", bytes };
    const fields = new Parser(bytes, this.depth + 1).fields();
    return fields === null ? { kind: "bytes", bytes } : { kind: "message", fields };
  }

  #varint(): bigint | null {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.bytes[this.#at++];
      if (byte === undefined) return null;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
    return null;
  }
}

const isText = (bytes: Uint8Array): boolean =>
  bytes.every((byte) => byte >= 0x2e && byte < 0x7f) && bytes.length > 2;

class Writer {
  readonly #out: number[] = [];

  fields(fields: readonly Field[]): Uint8Array {
    for (const field of fields) this.#field(field);
    return Uint8Array.from(this.#out);
  }

  #field({ number, wire, payload, lie = 0 }: Field): void {
    this.#varint((BigInt(number) << 3n) | BigInt(wire));
    if (payload.kind === "number") return this.#varint(payload.value);
    const bytes = payload.kind === "bytes" ? payload.bytes : new Writer().fields(payload.fields);
    if (wire === 2) this.#varint(BigInt(Math.max(0, bytes.length + lie)));
    for (const byte of bytes) this.#out.push(byte);
  }

  #varint(value: bigint): void {
    let rest = BigInt.asUintN(64, value);
    while (rest >= 128n) {
      this.#out.push(Number(rest & 127n) | 128);
      rest >>= 7n;
    }
    this.#out.push(Number(rest));
  }
}

const numbers = [
  ...[0n, 1n, 2n, 3n, 5n, 7n, 8n, 10n, 11n, 16n, 21n, 26n, 27n, 64n, 99n, 127n, 128n, 1000n],
  ...[-1n, -2n, 1n << 31n, (1n << 31n) - 1n, 1n << 32n, (1n << 53n) + 1n, 1n << 62n, 1n << 63n],
  (1n << 63n) - 1n,
];

interface Place {
  readonly fields: Field[];
  readonly index: number;
}

function placesOf(fields: Field[]): Place[] {
  const places: Place[] = [];
  const visit = (list: Field[]): void => {
    list.forEach((field, index) => {
      places.push({ fields: list, index });
      if (field.payload.kind === "message") visit(field.payload.fields);
    });
  };
  visit(fields);
  return places;
}

const copyOf = (field: Field): Field => ({
  ...field,
  payload:
    field.payload.kind === "message"
      ? { kind: "message", fields: field.payload.fields.map(copyOf) }
      : field.payload,
});

const parsed = (bytes: Uint8Array): Field[] | null => new Parser(bytes, 0).fields();

type Change = (place: Place, field: Field, sources: Sources) => void;

const changes: readonly Change[] = [
  ({ fields, index }) => void fields.splice(index, 1),
  ({ fields, index }, field) => void fields.splice(index, 0, copyOf(field)),
  ({ fields, index }, field, { rng }) => {
    const to = rng.int(0, fields.length - 1);
    fields[index] = fields[to]!;
    fields[to] = field;
  },
  (_, field, sources) => changeValue(field, sources),
  (_, field, sources) => changeValue(field, sources),
  (_, field, sources) => changeValue(field, sources),
  (_, field, { rng }) => void (field.number = rng.pick([field.number + 1, rng.int(1, 30)])),
  (_, field, { rng }) => void (field.wire = rng.int(0, 7)),
  ({ fields, index }, _, { rng, other }) => {
    const donor = placesOf(parsed(other()) ?? []);
    if (donor.length === 0) return;
    const from = rng.pick(donor);
    const taken = copyOf(from.fields[from.index]!);
    if (rng.chance(0.5)) fields.splice(index, 0, taken);
    else fields[index] = taken;
  },
  (_, field, { rng }) => void (field.lie = rng.pick([-1, 1, 2, 100, 2 ** 31, 2 ** 40])),
  (_, field, { rng }) => {
    // A message inside itself, again and again.
    for (let depth = rng.pick([1, 2, 8, 33, 110]); depth > 0; depth--)
      field.payload = { kind: "message", fields: [copyOf(field)] };
    field.wire = 2;
  },
];

function changeValue(field: Field, sources: Sources): void {
  const { rng } = sources;
  const { payload } = field;
  if (payload.kind === "number") {
    const near = payload.value + BigInt(rng.int(-2, 2));
    field.payload = { kind: "number", value: rng.chance(0.3) ? near : rng.pick(numbers) };
  } else if (payload.kind === "bytes") {
    const named = rng.chance(0.4) ? Buffer.from(word(sources), "utf8") : null;
    field.payload = { kind: "bytes", bytes: named ?? havoc(payload.bytes, sources) };
  } else {
    const inner = payload.fields;
    if (inner.length > 0 && rng.chance(0.5)) inner.splice(rng.int(0, inner.length - 1), 1);
    else field.payload = { kind: "message", fields: inner.flatMap((each) => [each, copyOf(each)]) };
  }
}

/** One to four changes of fields; of bytes where `bytes` are no message. */
export function changedMessage(bytes: Uint8Array, sources: Sources): Uint8Array {
  const fields = parsed(bytes);
  if (fields === null || fields.length === 0) return havoc(bytes, sources);
  for (let times = sources.rng.pick([1, 1, 1, 2, 4]); times > 0; times--) {
    const places = placesOf(fields);
    if (places.length === 0) break;
    const place = sources.rng.pick(places);
    sources.rng.pick(changes)(place, place.fields[place.index]!, sources);
  }
  return new Writer().fields(fields);
}
