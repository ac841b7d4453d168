/** `farrier warm`, on the runtime's stand-in for the driver. */
import fs from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compileC, missingAddon, writeBundle } from "../../runtime/node/testing/bundle.js";
import { scaleBundle } from "../../runtime/node/testing/scale.js";
import { packageRoot } from "../../compiler/version.js";
import { temporaryDirectory } from "../support.js";
import { farrier } from "./support.js";

describe.skipIf(missingAddon !== null)("farrier warm", () => {
  let bundle = "";
  beforeAll(() => {
    const directory = temporaryDirectory();
    const library = path.join(directory, "libmock.so");
    const source = path.join(packageRoot(), "runtime", "node", "testing", "mock-cuda.c");
    compileC(fs.readFileSync(source, "utf8"), library);
    process.env["FARRIER_CUDA_LIBRARY"] = library;
    bundle = writeBundle(path.join(directory, "scale"), scaleBundle(["cpu", "sm_80"]));
  });
  afterAll(() => {
    delete process.env["FARRIER_CUDA_LIBRARY"];
  });

  it("says what it keeps, where", async () => {
    const place = `${bundle}.warm/sm_90-cuda12.4`;
    expect(await farrier("warm", bundle)).toMatchObject({
      status: 0,
      out: `${place}: 1 kernels, 11 B; 1 assembled now\n`,
    });
    const { events } = await farrier("warm", bundle, "--json");
    expect(events.at(-1)).toEqual({
      event: "warmed",
      directory: place,
      kernels: 1,
      made: 0,
      bytes: 11,
    });
    fs.writeFileSync(path.join(place, fs.readdirSync(place)[0]!), "nonsense");
    const again = await farrier("warm", bundle);
    expect(again.out).toContain("1 assembled now");
    expect((await farrier("inspect", bundle)).status).toBe(0);
  });

  it.each<[string, string[], number, string]>([
    ["what is no bundle", [import.meta.dirname], 2, "E_BUNDLE_FORMAT"],
    ["a CPU", ["--device", "cpu"], 3, "E_UNSUPPORTED"],
    ["a GPU that is not there", ["--device", "cuda:7"], 4, "E_NO_DEVICE"],
    ["a device that has no such name", ["--device", "tpu"], 2, "E_DEVICE_NAME"],
  ])("refuses %s", async (_, argv, status, code) => {
    const place = argv[0]?.startsWith("--") === true ? [bundle] : [];
    const said = await farrier("warm", ...place, ...argv);
    expect([said.status, said.err]).toEqual([status, expect.stringContaining(code)]);
  });
});
