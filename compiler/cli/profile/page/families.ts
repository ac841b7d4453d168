/** A colour for each family of kernels, told apart by people who see few colours (Okabe and Ito). */
import type { Family } from "../../../kernel/desc.js";

const colours: { readonly [F in Family]: string } = {
  gemm: "#0072b2",
  attention: "#d55e00",
  reduce: "#009e73",
  map: "#999999",
  route: "#cc79a7",
  group: "#cc79a7",
  sample: "#e69f00",
  scan: "#56b4e9",
  topk: "#56b4e9",
  scatter: "#56b4e9",
};

/** Of a report that another version wrote, families may be unknown. */
export const colourOf = (family: string): string =>
  (colours as Readonly<Record<string, string>>)[family] ?? "#999999";
