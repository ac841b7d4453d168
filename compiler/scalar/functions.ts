/**
 * Elementwise mathematics, written once as functions of numbers. Each is lifted into an expression
 * tree when the package is built (`lift-builtins.ts`); the evaluator runs the very function.
 *
 * A body may use number parameters, `const`, `if`/`return`, `?:`, arithmetic, comparisons, Math, the
 * intrinsics and the other functions of this file. Write the form that is accurate in every format:
 * f32 instantiates the same tree.
 */
import { erf, fma } from "./intrinsics.js";

// Math's own, under ONNX's names.

export function sqrt(x: number): number {
  return Math.sqrt(x);
}

export function rsqrt(x: number): number {
  return 1 / Math.sqrt(x);
}

export function reciprocal(x: number): number {
  return 1 / x;
}

export function square(x: number): number {
  return x * x;
}

export function exp(x: number): number {
  return Math.exp(x);
}

export function exp2(x: number): number {
  return 2 ** x;
}

export function expm1(x: number): number {
  return Math.expm1(x);
}

export function log(x: number): number {
  return Math.log(x);
}

export function log2(x: number): number {
  return Math.log2(x);
}

export function log1p(x: number): number {
  return Math.log1p(x);
}

export function sin(x: number): number {
  return Math.sin(x);
}

export function cos(x: number): number {
  return Math.cos(x);
}

export function tan(x: number): number {
  return Math.tan(x);
}

/** Large arguments go by squares of exp(x/2), which overflow only where the result does. */
export function sinh(x: number): number {
  const size = Math.abs(x);
  const half = Math.exp(size / 2);
  const e = Math.expm1(size);
  const positive = size > 20 ? 0.5 * half * half : 0.5 * (e + e / (e + 1));
  return x < 0 ? -positive : positive;
}

export function cosh(x: number): number {
  const half = Math.exp(Math.abs(x) / 2);
  const e = half * half;
  return Math.abs(x) > 20 ? 0.5 * half * half : 0.5 * e + 0.5 / e;
}

export function tanh(x: number): number {
  return Math.tanh(x);
}

/** Above 1e9, x² + 1 is x² in every format, and x² might overflow. */
export function asinh(x: number): number {
  const size = Math.abs(x);
  const small = Math.min(size, 1e9);
  const squared = small * small;
  const near = Math.log1p(small + squared / (1 + Math.sqrt(squared + 1)));
  const positive = size > 1e9 ? Math.log(size) + Math.LN2 : near;
  return x < 0 ? -positive : x === 0 ? x : positive;
}

/** Below one there is none; far below, its terms cancel to log(0). */
export function acosh(x: number): number {
  const above = Math.min(x, 1e9) - 1;
  const near = Math.log1p(above + Math.sqrt(2 * above + above * above));
  return x > 1e9 ? Math.log(x) + Math.LN2 : x < 1 ? NaN : near;
}

export function atanh(x: number): number {
  const size = Math.abs(x);
  const positive = 0.5 * Math.log1p((2 * size) / (1 - size));
  return x < 0 ? -positive : x === 0 ? x : positive;
}

/**
 * Reduced twice, by the reciprocal and by π/4, to |t| <= tan(π/8); then the odd polynomial of
 * FreeBSD's s_atan.c (Sun Microsystems 1993), good to 2^-58 there.
 */
export function atan(x: number): number {
  const size = Math.abs(x);
  const folded = size > 1 ? 1 / size : size;
  const high = folded > 0.4142135623730951;
  const t = high ? (folded - 1) / (folded + 1) : folded;
  const z = t * t;
  const odd =
    3.33333333333329318027e-1 +
    z *
      (-1.99999999998764832476e-1 +
        z *
          (1.42857142725034663711e-1 +
            z *
              (-1.1111110405462355788e-1 +
                z *
                  (9.09088713343650656196e-2 +
                    z *
                      (-7.69187620504482999495e-2 +
                        z *
                          (6.66107313738753120669e-2 +
                            z *
                              (-5.83357013379057348645e-2 +
                                z *
                                  (4.97687799461593236017e-2 +
                                    z *
                                      (-3.6531572744216915527e-2 +
                                        z * 1.62858201153657823623e-2)))))))));
  const angle = t - t * z * odd;
  const within = high ? Math.PI / 4 + angle : angle;
  const positive = size > 1 ? Math.PI / 2 - within : within;
  return x < 0 ? -positive : x === 0 ? x : positive;
}

export function asin(x: number): number {
  return atan(x / Math.sqrt((1 - x) * (1 + x)));
}

export function acos(x: number): number {
  return 2 * atan(Math.sqrt((1 - x) / (1 + x)));
}

// Activations.

export function relu(x: number): number {
  return Math.max(x, 0);
}

export function leaky_relu(x: number, slope: number): number {
  return x < 0 ? slope * x : x;
}

export function thresholded_relu(x: number, alpha: number): number {
  return x > alpha ? x : 0;
}

export function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

export function silu(x: number): number {
  return x / (1 + Math.exp(-x));
}

/** x · sigmoid(1.702 x), as CLIP and ONNX's QuickGelu have it; `alpha` is usually 1.702. */
export function quick_gelu(x: number, alpha: number): number {
  return x / (1 + Math.exp(-alpha * x));
}

export function gelu_erf(x: number): number {
  return x * 0.5 * (1 + erf(x * Math.SQRT1_2));
}

export function gelu_tanh(x: number): number {
  return x * 0.5 * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x)));
}

/** log(1 + e^x), with nothing that overflows. */
export function softplus(x: number): number {
  return Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
}

export function softsign(x: number): number {
  return x / (1 + Math.abs(x));
}

/**
 * x · tanh(softplus(x)) = x · n / (n + 2) with n = e(e + 2), e = e^x; for x > 0 in powers of e^-x,
 * so that nothing overflows.
 */
export function mish(x: number): number {
  const e = Math.exp(-Math.abs(x));
  const ratio =
    x > 0 ? (1 + 2 * e) / (1 + 2 * e + 2 * e * e) : (e * e + 2 * e) / (e * e + 2 * e + 2);
  return x * ratio;
}

export function elu(x: number, alpha: number): number {
  return x < 0 ? alpha * Math.expm1(x) : x;
}

export function celu(x: number, alpha: number): number {
  return x < 0 ? alpha * Math.expm1(x / alpha) : x;
}

/** SELU; ONNX's defaults are alpha 1.67326319217681884765625, gamma 1.05070102214813232421875. */
export function selu(x: number, alpha: number, gamma: number): number {
  return x > 0 ? gamma * x : gamma * alpha * Math.expm1(x);
}

export function hard_sigmoid(x: number, alpha: number, beta: number): number {
  return Math.max(0, Math.min(1, alpha * x + beta));
}

export function hard_swish(x: number): number {
  return x * Math.max(0, Math.min(1, x / 6 + 0.5));
}

export function soft_cap(x: number, cap: number): number {
  return cap * Math.tanh(x / cap);
}

export function shrink(x: number, bias: number, lambda: number): number {
  return x < -lambda ? x + bias : x > lambda ? x - bias : 0;
}

export { erf, fma };
