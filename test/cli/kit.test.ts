/** `farrier kit`: unpacked where nothing else is, it compiles. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { missingAddon } from "../../runtime/node/testing/bundle.js";
import { fixture, temporaryDirectory } from "../support.js";
import { farrier, listed } from "./support.js";

describe("farrier kit", () => {
  it.skipIf(missingAddon !== null)(
    "runs in an empty directory, with an empty environment",
    { timeout: 300_000 },
    async () => {
      const directory = temporaryDirectory();
      const archive = path.join(directory, "kit.tar");
      const { status, events } = await farrier("kit", "--with-suite", "-o", archive, "--json");
      expect(status).toBe(0);
      expect(events.at(-1)).toEqual({
        event: "packed",
        path: archive,
        bytes: fs.statSync(archive).size,
      });
      expect(listed(directory)).toEqual(["kit.tar"]);
      execFileSync("tar", ["-xf", archive, "-C", directory]);
      const kit = path.join(directory, "farrier-kit");
      const run = (...argv: string[]): string =>
        execFileSync(path.join(kit, "farrier"), argv, {
          encoding: "utf8",
          env: {},
          cwd: kit,
          stdio: ["ignore", "pipe", "pipe"],
        });
      expect(run("doctor")).toContain("yes  compile for sm_80");
      const bundle = path.join(directory, "gpt2.farrier");
      const llama = fixture("llama", "hf");
      const bounds = ["--dim", "batch=1..2", "--dim", "seq=1..32"];
      const said = run("compile", llama, "--target", "sm_80,sm_90", ...bounds, "-o", bundle);
      expect(said).toContain("sm_90 decode: ");
      expect(run("inspect", bundle)).toContain("prefill");
      // The suite starts, and has nothing to do.
      const suite = path.join(kit, "farrier-suite");
      const status0 = execFileSync(suite, ["no such check"], { encoding: "utf8", env: {} });
      expect(status0).toBe("0 passed, 0 failed\n");
      expect(fs.existsSync(path.join(kit, "lib/farrier/test/fixtures/models/gpt2/hf"))).toBe(true);
      // No tests, sources or maps beside what runs.
      const files = fs.readdirSync(path.join(kit, "lib"), { recursive: true, encoding: "utf8" });
      expect(files.filter((file) => /\.(test\.js|map|ts)$/.test(file))).toEqual([]);
    },
  );

  it("refuses names that tell no kind of archive, and places that cannot be written", async () => {
    const other = await farrier("kit", "-o", "kit.zip");
    expect([other.status, other.err]).toEqual([2, expect.stringContaining("E_OPTION")]);
    if (missingAddon !== null) return;
    const nowhere = await farrier("kit", "-o", "/proc/kit.tar");
    expect([nowhere.status, nowhere.err]).toEqual([5, expect.stringContaining("E_IO")]);
  });
});
