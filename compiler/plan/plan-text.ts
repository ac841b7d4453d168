/** A plan as text: a line for each tensor, kernel, weight and step, which people can read and compare. */
import type { BundlePlan } from "./plan.js";

const isPlan = (value: unknown): boolean =>
  typeof value === "object" && value !== null && "box" in value;

function text(value: unknown): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) {
    if (value.length === 0) return "[]";
    const lines = value.map((each: unknown) => (isPlan(each) ? text(each) : JSON.stringify(each)));
    return `[\n${lines.join(",\n")}\n]`;
  }
  const entries = Object.entries(value)
    .filter(([, each]) => each !== undefined)
    .map(
      ([key, each]) =>
        `${JSON.stringify(key)}: ${key === "box" ? JSON.stringify(each) : text(each)}`,
    );
  return entries.length === 0 ? "{}" : `{\n${entries.join(",\n")}\n}`;
}

export const planText = (plan: BundlePlan): string => `${text(plan)}\n`;
