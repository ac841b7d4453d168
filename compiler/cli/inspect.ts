import type { AddCommand } from "./main.js";
import { FarrierError } from "../errors.js";
import { shapeText } from "../bundle/binding.js";
import type { BundlePlan, Plan, TensorSpec } from "../plan/plan.js";
import { manifestShape, planShape } from "./bundle-shapes.js";
import { bundleJson, existing, isBundle } from "./open.js";
import { bytesText, Output } from "./output.js";

export const inspectCommand: AddCommand = (program) => {
  program
    .command("inspect")
    .description("what a bundle holds; loads nothing of it")
    .argument("<bundle>")
    .option("--json", "one event a line")
    .action((place: string, raw: { json?: boolean }) => {
      const output = new Output(raw.json === true);
      existing(place);
      if (!isBundle(place))
        throw new FarrierError("E_BUNDLE_FORMAT", "this is no bundle: it has no manifest.json", {
          file: place,
          hint: "farrier compile MODEL makes one",
        });
      const manifest = bundleJson(place, "manifest.json", manifestShape) as Manifest;
      const plan = bundleJson(place, "plan.json", planShape) as BundlePlan;
      output.event(
        "inspected",
        { manifest, symbols: plan.symbols, entries: plan.entries, states: plan.states },
        described(manifest, plan),
      );
    });
};

interface Manifest {
  readonly farrier: string;
  readonly native: boolean;
  readonly files: Readonly<Record<string, { readonly bytes: number }>>;
}

const tensorText = ({ name, dtype, shape }: TensorSpec): string =>
  `${name}: ${dtype} ${shapeText(shape)}`;

const boxText = (box: Plan["box"]): string =>
  Object.entries(box)
    .map(([name, [min, max]]) => ` ${name}=${min === max ? min : `${min}..${max}`}`)
    .join("");

function described(manifest: Manifest, plan: BundlePlan): string {
  const lines = [
    `written by farrier ${manifest.farrier}${manifest.native ? ", holds host code of the machine that built it" : ""}`,
  ];
  for (const { name, min, max } of plan.symbols) lines.push(`symbol ${name}: ${min}..${max}`);
  for (const entry of plan.entries) {
    lines.push(
      `entry ${entry.name}`,
      ...entry.inputs.map((input) => `  in   ${tensorText(input)}`),
      ...entry.outputs.map((out) => `  out  ${tensorText(out)}`),
    );
    for (const [target, plans] of Object.entries(plan.targets)) {
      for (const { box, steps, arenaBytes } of plans.entries[entry.name] ?? [])
        lines.push(
          `  ${target}${boxText(box)}: ${steps.length} launches, ${bytesText(arenaBytes)} of workspace`,
        );
    }
  }
  const stateBytes = plan.states.map(
    ({ name, dtype, shape }) => `state ${name}: ${dtype} [${shape.join(", ")}]`,
  );
  lines.push(...stateBytes);
  for (const [target, plans] of Object.entries(plan.targets))
    lines.push(
      `${target}: ${plans.kernels.length} kernels, ${plans.weights.length} weights from ${plan.sources.length} tensors`,
    );
  const total = Object.values(manifest.files).reduce((sum, file) => sum + file.bytes, 0);
  lines.push(`${Object.keys(manifest.files).length} files, ${bytesText(total)}`);
  return lines.join("\n");
}
