/** JSON values as they were written: objects are Maps, numbers keep their digits. */
import { JsonScanner, type JsonCodes, type JsonOptions } from "./json-scanner.js";

export type { JsonCodes, JsonOptions } from "./json-scanner.js";

/** A number with its digits: `value` is what a double makes of them. */
export class JsonNumber {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  get value(): number {
    return Number(this.text);
  }

  /** Written as an integer, without point or exponent. */
  get isInteger(): boolean {
    return /^-?[0-9]+$/.test(this.text) && this.text !== "-0";
  }

  /** The exact value; only for an integer. */
  get bigint(): bigint {
    return BigInt(this.text);
  }
}

export type JsonValue = null | boolean | string | JsonNumber | JsonArray | JsonObject;
export type JsonArray = readonly JsonValue[];
export type JsonObject = ReadonlyMap<string, JsonValue>;

export const configCodes: JsonCodes = {
  syntax: "E_CONFIG",
  duplicate: "E_CONFIG",
  number: "E_CONFIG",
};

/** Reads one JSON text; `options.codes` says what its faults are called. */
export function parseJson(bytes: Uint8Array, options: JsonOptions): JsonValue {
  const scanner = new JsonScanner(bytes, options);
  const value = readValue(scanner);
  scanner.end();
  return value;
}

export const isJsonObject = (value: JsonValue | undefined): value is JsonObject =>
  value instanceof Map;

export const isJsonArray = (value: JsonValue | undefined): value is JsonArray =>
  Array.isArray(value);

/** How an error message names what it found. */
export function describeJson(value: JsonValue): string {
  if (value === null) return "null";
  if (value instanceof JsonNumber) return value.text.slice(0, 40);
  if (isJsonObject(value)) return "an object";
  if (isJsonArray(value)) return "a list";
  if (typeof value === "string") return `the string ${JSON.stringify(value.slice(0, 80))}`;
  return String(value);
}

/** Reads the value that the scanner stands before; recursion is bounded by the scanner's depth. */
export function readValue(scanner: JsonScanner): JsonValue {
  switch (scanner.kind()) {
    case "object": {
      const object = new Map<string, JsonValue>();
      scanner.object((key) => object.set(key, readValue(scanner)));
      return object;
    }
    case "array": {
      const array: JsonValue[] = [];
      scanner.array(() => array.push(readValue(scanner)));
      return array;
    }
    case "string":
      return scanner.string();
    case "number":
      return new JsonNumber(scanner.numberText());
    default:
      return scanner.literal();
  }
}
