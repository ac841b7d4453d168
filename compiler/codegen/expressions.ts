/**
 * What templates' views need of expressions. Templates import nothing else of the compiler's inner
 * layers, so that a skeleton cannot grow knowledge of graphs or passes.
 */
export {
  add,
  binary,
  bitcast,
  cast,
  ceilDiv,
  constValue,
  constant,
  coord,
  div,
  eq,
  int,
  isConst,
  le,
  load,
  lt,
  max,
  min,
  mod,
  mul,
  ne,
  param,
  select,
  sub,
  substitute,
  unary,
  zero,
  one,
} from "../scalar/build.js";
export { isOp, postorder } from "../scalar/expr.js";
export { rangeOf } from "../scalar/range.js";
export { rawName, statusOperand } from "../kernel/desc.js";
export { kernelNamePlaceholder } from "../kernel/family.js";
