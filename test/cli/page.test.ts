/** The page of a profile in a browser, where one is found: it draws, reacts, and asks for nothing. */
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { chromium, type Browser, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pageOf } from "../../compiler/cli/profile/page/page.js";
import { measuredLayers, operatorsOf } from "../profiles.js";
import { temporaryDirectory } from "../support.js";

const places = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const executablePath = process.env["CHROMIUM"] ?? places.find((place) => fs.existsSync(place));

// Without one the name says that this was skipped, and why.
const name =
  executablePath === undefined ? "no Chromium is installed, CHROMIUM names none" : "a page";

describe.skipIf(executablePath === undefined)(name, () => {
  const layers = 6;
  const asked: string[] = [];
  const said: string[] = [];
  let browser: Browser;
  let page: Page;

  beforeAll(async () => {
    const file = path.join(temporaryDirectory(), "profile.html");
    const text = pageOf(measuredLayers(layers), operatorsOf(layers));
    fs.writeFileSync(file, text);
    browser = await chromium.launch({ executablePath: executablePath!, args: ["--no-sandbox"] });
    page = await browser.newPage();
    page.on("request", (request) => asked.push(request.url()));
    page.on("console", (message) => said.push(message.text()));
    page.on("pageerror", (error) => said.push(error.message));
    await page.goto(pathToFileURL(file).href);
  }, 60_000);
  afterAll(async () => browser.close());

  const shown = (selector: string): Promise<number> => page.locator(`${selector}.shown`).count();

  async function boxesOf(selector: string) {
    const boxes = (await page.locator(selector).all()).map((each) => each.boundingBox());
    return (await Promise.all(boxes)).map((box) => {
      const { x, y, width, height } = box!;
      return { left: x, right: x + width, top: y, bottom: y + height };
    });
  }

  it("asks for nothing but itself, and its style and script are let in", async () => {
    expect(asked).toHaveLength(1);
    expect(said).toEqual([]);
    const width = await page.evaluate<string>("getComputedStyle(document.body).maxWidth");
    expect(width).toBe("1160px");
  });

  it("draws bars one after the other over the whole width", async () => {
    const bars = await boxesOf(".bar > rect:first-of-type");
    expect(bars).toHaveLength(2 * layers);
    bars.forEach(({ left }, i) => {
      if (i > 0) expect(left).toBeCloseTo(bars[i - 1]!.right, 0);
    });
  });

  it("draws boxes that do not cover each other, inside their drawing", async () => {
    for (const drawing of ["#before", "#after"]) {
      const [whole] = await boxesOf(`${drawing} svg`);
      const boxes = await boxesOf(`${drawing} .node rect`);
      expect(boxes.length).toBeGreaterThan(1);
      for (const [i, a] of boxes.entries()) {
        expect(a.left >= whole!.left && a.right <= whole!.right).toBe(true);
        expect(a.top >= whole!.top && a.bottom <= whole!.bottom).toBe(true);
        for (const b of boxes.slice(i + 1))
          expect(
            a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top,
          ).toBe(true);
      }
    }
  });

  it("shows a row's launches everywhere while it is pointed at, and keeps them at a click", async () => {
    await page.locator("tbody tr").first().hover();
    expect(await shown(".bar")).toBe(layers);
    expect(await shown(".point")).toBe(1);
    expect(await shown("#after .node")).toBe(1);
    expect(await shown("#before .node")).toBe(2);
    await page.locator("h1").hover();
    expect(await shown(".bar")).toBe(0);
    await page.locator("tbody tr").nth(1).click();
    await page.locator("h1").hover();
    expect(await shown(".bar")).toBe(layers);
    await page.locator("tbody tr").nth(1).click();
    await page.locator("h1").hover();
    expect(await shown(".bar")).toBe(0);
  });

  it("widens the timeline", async () => {
    const width = async (): Promise<number> => {
      const [box] = await boxesOf("#timeline svg");
      return box!.right - box!.left;
    };
    const before = await width();
    await page.locator("#zoom").fill("400");
    expect(await width()).toBeCloseTo(4 * before, -1);
  });
});
