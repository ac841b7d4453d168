/** JSON of a plan's kind: a line for each element of a list, which people can read and compare. */
import type { BundlePlan } from "./plan.js";

/** @param nested the elements of lists that are written in lines of their own */
export function linesText(value: unknown, nested: (element: object) => boolean): string {
  const isNested = (each: unknown): boolean =>
    typeof each === "object" && each !== null && !Array.isArray(each) && nested(each);
  const text = (each: unknown): string => {
    if (typeof each !== "object" || each === null) return JSON.stringify(each);
    if (Array.isArray(each)) {
      if (each.length === 0) return "[]";
      const lines = each.map((one: unknown) => (isNested(one) ? text(one) : JSON.stringify(one)));
      return `[\n${lines.join(",\n")}\n]`;
    }
    const entries = Object.entries(each)
      .filter(([, one]) => one !== undefined)
      .map(
        ([key, one]) =>
          `${JSON.stringify(key)}: ${key === "box" ? JSON.stringify(one) : text(one)}`,
      );
    return entries.length === 0 ? "{}" : `{\n${entries.join(",\n")}\n}`;
  };
  return `${text(value)}\n`;
}

/** A line for each tensor, kernel, weight and step. */
export const planText = (plan: BundlePlan): string => linesText(plan, (value) => "box" in value);
