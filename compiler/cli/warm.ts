import { warm } from "../../runtime/node/index.js";
import { FarrierError } from "../errors.js";
import type { AddCommand } from "./main.js";
import { existing, isBundle } from "./open.js";
import { bytesText, Output } from "./output.js";

export const warmCommand: AddCommand = (program) => {
  program
    .command("warm")
    .description("assemble a bundle's GPU kernels now, and keep them beside it")
    .argument("<bundle>")
    .option("--device <name>", "cuda or cuda:N", "cuda:0")
    .option("--json", "one event a line")
    .action(async (place: string, raw: { device: string; json?: boolean }) => {
      const output = new Output(raw.json === true);
      existing(place);
      if (!isBundle(place))
        throw new FarrierError("E_BUNDLE_FORMAT", "this is no bundle: it has no manifest.json", {
          file: place,
          hint: "farrier compile MODEL makes one",
        });
      const kept = await warm(place, {
        device: raw.device,
        onProgress: (done, total) => output.progress("assembling kernels", done, total),
      });
      output.clear();
      const { directory, kernels, made, bytes } = kept;
      const text = `${directory}: ${kernels} kernels, ${bytesText(bytes)}; ${made} assembled now`;
      output.event("warmed", { ...kept }, text);
    });
};
