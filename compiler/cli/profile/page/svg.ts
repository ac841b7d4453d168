/** HTML and SVG as text: everything that comes from a model is escaped here and nowhere else. */

type Attributes = Readonly<Record<string, string | number | undefined>>;

/** Markup that is safe to put into markup. */
export interface Markup {
  readonly markup: string;
}

const replacements: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
};

const escaped = (text: string): string => text.replace(/[&<>"]/g, (each) => replacements[each]!);

/** Numbers of a drawing: to a hundredth of a pixel. */
const valueText = (value: string | number): string =>
  typeof value === "number" ? String(Math.round(value * 100) / 100) : escaped(value);

/** An element; children that are strings are texts. */
export function el(
  name: string,
  attributes: Attributes,
  ...children: readonly (string | Markup | readonly Markup[])[]
): Markup {
  const own = Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}="${valueText(value!)}"`);
  const inner = children.map((child) =>
    typeof child === "string" ? escaped(child) : joined(child).markup,
  );
  return { markup: `<${name}${own.join("")}>${inner.join("")}</${name}>` };
}

const joined = (markup: Markup | readonly Markup[]): Markup =>
  "markup" in markup ? markup : { markup: markup.map((each) => each.markup).join("") };

/** What belongs to launches, so that pointing at one thing shows the others. */
export const ofLaunches = (numbers: readonly number[]): Attributes => ({
  "data-launches": numbers.join(" "),
});
