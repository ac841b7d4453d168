import { execFileSync } from "node:child_process";
import type { AddCommand } from "./main.js";
import { targets } from "../kernel/target.js";
import { Output } from "./output.js";

interface Finding {
  readonly what: string;
  readonly ok: boolean;
  readonly detail: string;
}

export const doctorCommand: AddCommand = (program) => {
  program
    .command("doctor")
    .description("what this machine can compile for and run")
    .option("--json", "one event a line")
    .action(async (raw: { json?: boolean }) => {
      const output = new Output(raw.json === true);
      const findings = [...compilers(), ...(await runtimes())];
      for (const { what, ok, detail } of findings)
        output.event("finding", { what, ok, detail }, `${ok ? "yes" : "no "}  ${what}: ${detail}`);
    });
};

function compilers(): Finding[] {
  return Object.values(targets).map(({ name, language }) => {
    if (language === "ptx")
      return { what: `compile for ${name}`, ok: true, detail: "needs nothing but Node" };
    const cc = process.env["CC"] || "cc";
    // CC may hold flags too, as in `CC="ccache gcc"`.
    const [command = "cc", ...flags] = cc.split(/\s+/).filter((word) => word !== "");
    try {
      const said = execFileSync(command, [...flags, "--version"], {
        encoding: "utf8",
        stdio: ["ignore", "pipe", "ignore"],
      });
      const version = said.split("\n")[0] ?? cc;
      return { what: `compile for ${name}`, ok: true, detail: version };
    } catch {
      return {
        what: `compile for ${name}`,
        ok: false,
        detail: `no C compiler: install gcc or clang, or set CC (tried ${cc})`,
      };
    }
  });
}

async function runtimes(): Promise<Finding[]> {
  try {
    const { devices } = await import("../../runtime/node/index.js");
    const found = await devices();
    const lines = found.devices.map((device): Finding => {
      const detail =
        device.type === "cpu"
          ? `${device.name}, ${device.isa ?? ""}, ${device.threads ?? 1} threads`
          : `${device.name}, compute capability ${device.capability ?? "?"}, driver ${device.driver ?? "?"}`;
      return {
        what: `run on ${device.type}${device.type === "cuda" ? `:${device.id}` : ""}`,
        ok: true,
        detail,
      };
    });
    return found.cuda === null
      ? lines
      : [...lines, { what: "run on cuda", ok: false, detail: found.cuda }];
  } catch (error) {
    return [
      {
        what: "run bundles",
        ok: false,
        detail: error instanceof Error ? error.message : String(error),
      },
    ];
  }
}
