/** Activation functions by the names of transformers' table. */
import type { ScalarFunction } from "../../scalar/function.js";
import { builtin, type BuiltinName } from "../../scalar/table.js";
import type { ConfigReader } from "../files/config-reader.js";
import { unsupported } from "./config-keys.js";

export interface Activation {
  /** null is the identity. */
  readonly fn: ScalarFunction | null;
  /** Arguments after the value. */
  readonly constants: readonly number[];
}

const of = (name: BuiltinName, ...constants: number[]): Activation => ({
  fn: builtin(name),
  constants,
});

const [geluErf, geluTanh, silu] = [of("gelu_erf"), of("gelu_tanh"), of("silu")];

const activations: Readonly<Record<string, Activation>> = {
  gelu: geluErf,
  gelu_python: geluErf,
  gelu_new: geluTanh,
  gelu_fast: geluTanh,
  gelu_accurate: geluTanh,
  gelu_pytorch_tanh: geluTanh,
  gelu_python_tanh: geluTanh,
  silu,
  swish: silu,
  relu: of("relu"),
  leaky_relu: of("leaky_relu", 0.01),
  quick_gelu: of("quick_gelu", 1.702),
  sigmoid: of("sigmoid"),
  tanh: of("tanh"),
  mish: of("mish"),
  hardswish: of("hard_swish"),
  linear: { fn: null, constants: [] },
};

/** The activation that `key` names. */
export function readActivation(config: ConfigReader, key: string, otherwise: string): Activation {
  const name = config.optionalString(key) ?? otherwise;
  const found = Object.hasOwn(activations, name) ? activations[name] : undefined;
  if (found !== undefined) return found;
  const known = Object.keys(activations).join(", ");
  throw unsupported(config, key, `${JSON.stringify(name)} is not supported; these are: ${known}`);
}
