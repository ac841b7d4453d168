/** Without the native addon: everything but running works, and running says how to build it. */
import path from "node:path";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { FarrierRuntimeError } from "../../runtime/node/errors.js";
import { fixture, temporaryDirectory } from "../support.js";
import { farrier } from "./support.js";

vi.mock("../../runtime/node/addon.js", async (original) => ({
  ...(await original<typeof import("../../runtime/node/addon.js")>()),
  addon: () => {
    const hint = "run `npm run build` in farrier's directory";
    throw new FarrierRuntimeError("E_NO_ADDON", `E_NO_ADDON: it is not built (${hint})`, 3);
  },
}));

const model = fixture("llama", "hf");
let bundle: string;
beforeAll(async () => {
  bundle = path.join(temporaryDirectory(), "x.farrier");
  const profile = ["--dim", "batch=1..2", "--dim", "seq=1..16"];
  expect(
    (await farrier("compile", model, "--target", "sm_80", ...profile, "-o", bundle)).status,
  ).toBe(0);
});

describe("without the addon", () => {
  it.each([
    ["explain", [model, "--target", "sm_80"]],
    ["explain", null],
    ["inspect", null],
  ])("%s works (%j)", async (command, argv) => {
    expect((await farrier(command, ...(argv ?? [bundle]))).status).toBe(0);
  });

  it.each([
    ["run", []],
    ["verify", ["--golden", fixture("llama", "golden-hf.safetensors")]],
    ["generate", ["--prompt-ids", "1"]],
  ])("%s says how to build it, before it compiles anything", async (command, argv) => {
    for (const place of [bundle, model]) {
      const { status, err, out } = await farrier(command, place, ...argv);
      expect({ status, err }).toMatchObject({ status: 3 });
      expect(err).toContain("E_NO_ADDON");
      expect(err).toContain("npm run build");
      expect(out).toBe("");
    }
  });

  it("doctor says what is missing", async () => {
    const { status, out } = await farrier("doctor");
    expect(status).toBe(0);
    expect(out).toMatch(/^no {2} run bundles: E_NO_ADDON/m);
  });
});
