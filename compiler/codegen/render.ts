/**
 * Handlebars as farrier uses it: strict, without escaping, with known helpers only, on plain-object
 * views. A skeleton holds tiling, staging and barriers; what varies arrives as text of the emitters.
 */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import Handlebars from "handlebars";
import { bug } from "../errors.js";

export type ViewValue = string | number | boolean | View | readonly ViewValue[];
/** The complete values of a template's holes: plain objects all the way down. */
export interface View {
  readonly [hole: string]: ViewValue;
}

const engine = Handlebars.create();
const builtin = { if: engine.helpers["if"]!, each: engine.helpers["each"]! };

// Even in strict mode a missing name is silent as the argument of a block: these two are not.
engine.registerHelper("if", function (this: unknown, value: unknown, options: unknown) {
  if (typeof value !== "boolean")
    throw bug(`a template tests ${JSON.stringify(value)}, which is no flag of its view`);
  return builtin.if.call(this, value, options as Handlebars.HelperOptions) as string;
});
engine.registerHelper("each", function (this: unknown, value: unknown, options: unknown) {
  if (!Array.isArray(value))
    throw bug(`a template walks ${JSON.stringify(value)}, which is no list of its view`);
  return builtin.each.call(this, value, options as Handlebars.HelperOptions) as string;
});
// `{{{a}}}` would drop the braces of PTX vectors: `{{vec regs}}` gives `{%a, %b}`.
engine.registerHelper("vec", (items: readonly string[]) => `{${items.join(", ")}}`);

/** The folder of templates: beside the sources, or in the package's root from `dist/`. */
function templateFile(path: string): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const candidate = join(folder, "templates", path);
    if (existsSync(candidate)) return candidate;
    const parent = dirname(folder);
    if (parent === folder) throw bug(`template ${path} is missing from the package`);
    folder = parent;
  }
}

const texts = new Map<string, string>();
const compiled = new Map<string, Handlebars.TemplateDelegate<View>>();

/** The text of a file under `templates/`, e.g. "prelude/cpu.c.hbs". */
export function templateText(path: string): string {
  const known = texts.get(path);
  if (known !== undefined) return known;
  const text = readFileSync(templateFile(path), "utf8");
  if (text.includes("{{{"))
    throw bug(`template ${path} holds "{{{", which drops braces: write {{vec list}}`);
  texts.set(path, text);
  return text;
}

/** Renders `templates/<path>`; a hole that the view lacks, or a view that is no plain data, throws. */
export function renderTemplate(path: string, view: View): string {
  let template = compiled.get(path);
  if (template === undefined) {
    template = engine.compile<View>(templateText(path), {
      strict: true,
      noEscape: true,
      knownHelpersOnly: true,
      knownHelpers: { vec: true },
    });
    compiled.set(path, template);
  }
  requirePlain(view, path);
  return template(view);
}

/** Values behind getters of a prototype render as nothing: refuse everything but own plain data. */
function requirePlain(value: unknown, place: string): void {
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") return;
  if (Array.isArray(value)) {
    value.forEach((item, index) => requirePlain(item, `${place}[${index}]`));
    return;
  }
  if (
    typeof value !== "object" ||
    value === null ||
    Object.getPrototypeOf(value) !== Object.prototype
  )
    throw bug(`the view of ${place} holds ${String(value)}, which is not plain data`);
  for (const [key, item] of Object.entries(value)) requirePlain(item, `${place}.${key}`);
}

/** Indents every line but the first, so that a hole keeps the column of its skeleton. */
export function indent(lines: readonly string[], columns: number): string {
  return lines.join("\n").replaceAll("\n", `\n${" ".repeat(columns)}`);
}
