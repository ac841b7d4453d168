/** farrier as a library: compile a model, load a bundle, write operators and functions of your own. */
export { compile, lower, type CompiledBundle, type CompileOptions } from "./compiler/compile.js";
export { exitStatus, FarrierError } from "./compiler/errors.js";
export type { ImportedModel } from "./compiler/frontend/model.js";
export { GraphBuilder, type Graph, type Node } from "./compiler/ir/graph.js";
export * as ir from "./compiler/ir/build.js";
export { attention, cacheWrite, matmul, pagedWrite, rotary } from "./compiler/ir/build-anchor.js";
export { elementwise } from "./compiler/scalar/elementwise.js";
export { erf, fma } from "./compiler/scalar/intrinsics.js";
export { sigmoid } from "./compiler/scalar/functions.js";
export { builtin, scalarFunction } from "./compiler/scalar/table.js";
export { sym } from "./compiler/scalar/build.js";
export type { DeviceInfo, GenerateOptions, PageLayout, Sampling } from "./runtime/node/index.js";
export {
  devices,
  generate,
  load,
  Model,
  PageAllocator,
  pageLayoutOf,
  State,
  Tensor,
  FarrierRuntimeError,
} from "./runtime/node/index.js";
export { version } from "./compiler/version.js";
