/** The page as text: what it draws, and that it loads nothing. In a browser: test/cli/page.test.ts. */
import { describe, expect, it } from "vitest";
import { measuredLayers, operatorsOf } from "../../../../test/profiles.js";
import { pageOf } from "./page.js";

const count = (text: string, what: RegExp): number => [...text.matchAll(what)].length;

describe("the page of a profile", () => {
  const measured = measuredLayers(4);
  const page = pageOf(measured, operatorsOf(4));

  it("names nothing that it would have to load", () => {
    expect(page).not.toMatch(/\b(src|href|action)=|url\((?!#)|@import|https?:/);
    expect(page).toContain("default-src 'none'");
    expect(page.startsWith("<!doctype html>")).toBe(true);
  });

  it("closes what it opens", () => {
    const markup = page.replace(/<(style|script)>[^]*?<\/\1>/g, "");
    const open: string[] = [];
    for (const [, end, name] of markup.matchAll(/<(\/?)([a-z0-9]+)[^>]*>/g))
      if (end === "") open.push(name!);
      else expect(open.pop()).toBe(name);
    expect(open).toEqual([]);
  });

  it("has a bar for each launch, a row for those that are alike, and each layer's boxes once", () => {
    expect(count(page, /class="bar"/g)).toBe(8);
    expect(count(page, /<tr data-launches/g)).toBe(2);
    expect(page).toContain('data-launches="0 2 4 6"');
    const [before = "", after = ""] = page.split('id="after"');
    expect(count(before, /class="node"/g)).toBe(3);
    expect(count(after, /class="node"/g)).toBe(2);
    expect(page).toContain("4 times the same 2");
  });

  it("shows names as they are, whatever they hold", () => {
    const [first, ...others] = measured.launches;
    const odd = { ...first!, computes: 'product: <b>"&</b>' };
    const shown = pageOf({ ...measured, launches: [odd, ...others] }, []);
    expect(shown).not.toContain("<b>");
    expect(shown).toContain("product: &lt;b&gt;&quot;&amp;&lt;/b&gt;");
  });

  it("does without products, launches and time", () => {
    const still = { ...measured.launches[1]!, ms: 0, operations: 0, number: 0 };
    expect(pageOf({ ...measured, launches: [still] }, [])).toContain("No launch multiplies.");
    expect(pageOf({ ...measured, launches: [] }, [])).not.toContain("NaN");
  });
});
