/** farrier's runtime from Node. */
export { load, Model, State } from "./model.js";
export type { Inputs, LoadOptions, Profile, RunOptions, StepTime } from "./model.js";
export { warm, type Kept, type WarmOptions } from "./warm.js";
export { Tensor, type Nested, type TensorLike } from "./tensor.js";
export { capacityOf, generate, type GenerateOptions, type Sampling } from "./generate.js";
export { PageAllocator, pageLayoutOf, type PageLayout } from "./pages.js";
export { devices, machine, type DeviceInfo } from "./device.js";
export { FarrierRuntimeError } from "./errors.js";
export type {
  BundleDescription,
  EntryInfo,
  HostExpr,
  StateInfo,
  SymbolInfo,
  TensorInfo,
} from "./description.js";
