/**
 * One bad input, or a control that must be accepted. `rows.test.ts` gives each to the command line
 * and holds it to what docs/errors.md promises.
 */
import fs from "node:fs";
import path from "node:path";
import {
  encodeModel,
  i64Tensor,
  node,
  type GraphSpec,
  type ModelSpec,
  type NodeSpec,
  type TensorSpec,
} from "../../compiler/frontend/onnx/wire/encode.testing.js";
import type { Said } from "../cli/support.js";

/** Where a case is built. Only what lies in `model` belongs to the model. */
export class Place {
  constructor(readonly root: string) {
    for (const name of ["model", "outside", "out", "tmp"])
      fs.mkdirSync(path.join(root, name), { recursive: true });
  }

  /** A path in the model's directory. */
  model(name = ""): string {
    return path.join(this.root, "model", name);
  }

  /** A path that no model may open. */
  outside(name: string): string {
    return path.join(this.root, "outside", name);
  }

  out(name = ""): string {
    return path.join(this.root, "out", name);
  }

  /** Writes files of the model's directory and gives the path of the first. */
  write(files: Readonly<Record<string, string | Uint8Array>>): string {
    for (const [name, content] of Object.entries(files)) {
      fs.mkdirSync(path.dirname(this.model(name)), { recursive: true });
      fs.writeFileSync(this.model(name), content);
    }
    return this.model(Object.keys(files)[0]);
  }
}

export interface Case {
  /** Its number in the list of bad inputs; the letters of a row's kinds follow in `what`. */
  readonly row: number;
  readonly what: string;
  /** The error's code, or `ok`. */
  readonly code: string;
  /** Builds the input and gives the path that the command line is told. */
  build(place: Place): string | Promise<string>;
  /** Text of the error's message. */
  readonly says?: RegExp;
  /** Further arguments of `compile`; `--target sm_80`, which needs no C compiler, where none. */
  readonly args?: readonly string[];
  /** Looks at an accepted model's bundle. */
  readonly check?: (bundle: string, said: Said) => void | Promise<void>;
}

type Rest = Omit<Case, "row" | "what" | "code" | "build">;

/** A case of an ONNX file. */
export const onnx = (
  row: number,
  code: string,
  what: string,
  model: ModelSpec | Uint8Array,
  rest: Rest = {},
): Case => ({
  row,
  what,
  code,
  build: (place) =>
    place.write({
      "model.onnx": model instanceof Uint8Array ? model : encodeModel({ opset: 24, ...model }),
    }),
  ...rest,
});

export const input = { name: "x", type: "f32", shape: [2, 3] } as const;
export const output = { name: "y", type: "f32" } as const;
export const negated = node("Neg", ["x"], ["y"]);

/** A graph from x [2, 3] to y. */
export const graphOf = (
  nodes: readonly NodeSpec[],
  ...initializers: readonly TensorSpec[]
): GraphSpec => ({ inputs: [input], outputs: [output], nodes, initializers });

/** A case of a graph from x [2, 3] to y. */
export const graph = (
  row: number,
  code: string,
  what: string,
  nodes: readonly NodeSpec[],
  initializers: readonly TensorSpec[] = [],
  says?: RegExp,
): Case =>
  onnx(
    row,
    code,
    what,
    { graph: graphOf(nodes, ...initializers) },
    says === undefined ? {} : { says },
  );

/** One value of several kinds of a row. */
export const each = <T>(values: readonly T[], make: (value: T) => Case): Case[] => values.map(make);

export const ints = (name: string, ...values: readonly (number | bigint)[]): TensorSpec =>
  i64Tensor(name, [values.length], values);
