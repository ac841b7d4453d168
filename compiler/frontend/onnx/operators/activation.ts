/** Activation functions. */
import { cast } from "../../../ir/build.js";
import { isFloat } from "../../../ir/dtype.js";
import type { Node } from "../../../ir/graph.js";
import type { Call } from "../call.js";
import { apply, elementwise, parametric, scalarLike, widened } from "./common.js";

export const Sigmoid = elementwise("sigmoid");
export const Tanh = elementwise("tanh");
export const Softplus = elementwise("softplus");
export const Softsign = elementwise("softsign");
export const HardSwish = elementwise("hard_swish");
export const Mish = elementwise("mish");
/** x · sigmoid(alpha · x) */
export const Swish = parametric("quick_gelu", { alpha: 1 });
export const LeakyRelu = parametric("leaky_relu", { alpha: Math.fround(0.01) });
export const ThresholdedRelu = parametric("thresholded_relu", { alpha: 1 });
export const Elu = parametric("elu", { alpha: 1 });
export const Celu = parametric("celu", { alpha: 1 });
export const HardSigmoid = parametric("hard_sigmoid", { alpha: Math.fround(0.2), beta: 0.5 });
export const Shrink = parametric("shrink", { bias: 0, lambd: 0.5 }, "numbers");
export const Selu = parametric("selu", {
  alpha: 1.67326319217681884765625,
  gamma: 1.05070102214813232421875,
});

export function Relu(call: Call): Node {
  const x = call.input(0);
  if (isFloat(x.dtype)) return apply(call.g, "relu", x);
  return apply(call.g, "max", x, scalarLike(call.g, x, 0));
}

export function Gelu(call: Call): Node {
  const form = call.attrs.choice("approximate", ["none", "tanh"], "none");
  return apply(call.g, form === "none" ? "gelu_erf" : "gelu_tanh", call.input(0));
}

/** The slope broadcasts to the input, and never the other way. */
export function PRelu(call: Call): Node {
  const { g } = call;
  const [x, slope] = [call.input(0), call.input(1)];
  if (isFloat(x.dtype)) return apply(g, "leaky_relu", x, slope);
  const negative = apply(g, "lt", x, scalarLike(g, x, 0));
  return apply(g, "select", negative, apply(g, "mul", x, slope), x);
}

/** The first input, gated by its own sigmoid, times the second. */
export function SwiGLU(call: Call): Node {
  return widened(call.g, call.input(0), (gate) => {
    const { g } = call;
    return apply(g, "mul", apply(g, "silu", gate), cast(g, call.input(1), gate.dtype));
  });
}
