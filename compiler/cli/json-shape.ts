/** JSON that people may have edited, against the shape that is read of it. */

export type Shape =
  | "string"
  | "number"
  | "boolean"
  | { readonly list: Shape }
  /** An object with any keys. */
  | { readonly record: Shape }
  | { readonly orNull: Shape }
  /** A value that a test accepts, with what it is called. */
  | { readonly called: string; accepts(value: unknown): boolean }
  | { readonly fields: Readonly<Record<string, Shape>> };

export const list = (of: Shape): Shape => ({ list: of });
export const record = (of: Shape): Shape => ({ record: of });
export const orNull = (of: Shape): Shape => ({ orNull: of });
export const fields = (of: Readonly<Record<string, Shape>>): Shape => ({ fields: of });

/** The first place that is of another shape, in words; null where all is as expected. */
export function mismatch(value: unknown, shape: Shape, at = "it"): string | null {
  if (typeof shape === "string") return typeof value === shape ? null : `${at} is no ${shape}`;
  if ("orNull" in shape) return value === null ? null : mismatch(value, shape.orNull, at);
  if ("called" in shape) return shape.accepts(value) ? null : `${at} is no ${shape.called}`;
  if ("list" in shape) {
    if (!Array.isArray(value)) return `${at} is no list`;
    return first(value.map((each, i) => () => mismatch(each, shape.list, `${at}[${i}]`)));
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return `${at} is no object`;
  const object = value as Readonly<Record<string, unknown>>;
  const place = (key: string): string => (at === "it" ? key : `${at}.${key}`);
  if ("record" in shape)
    return first(
      Object.entries(object).map(
        ([key, each]) =>
          () =>
            mismatch(each, shape.record, place(key)),
      ),
    );
  return first(
    Object.entries(shape.fields).map(
      ([key, each]) =>
        () =>
          mismatch(object[key], each, place(key)),
    ),
  );
}

function first(checks: readonly (() => string | null)[]): string | null {
  for (const check of checks) {
    const found = check();
    if (found !== null) return found;
  }
  return null;
}
