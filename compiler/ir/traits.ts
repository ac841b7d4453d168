/** What shared code asks instead of which operator it has. */
import type { OpName } from "./ops.js";

export interface OpTraits {
  /** Its value comes from outside the graph: the caller's tensor or a state. */
  readonly external: boolean;
  /** Every element is an element of one of its inputs, at an index that no data decides. */
  readonly view: boolean;
  /** The next version of the state that is its first input. */
  readonly updatesState: boolean;
}

const plain: OpTraits = { external: false, view: false, updatesState: false };
const external: OpTraits = { ...plain, external: true };
const view: OpTraits = { ...plain, view: true };

export const opTraits: { readonly [O in OpName]: OpTraits } = {
  input: external,
  constant: plain,
  state: external,
  iota: plain,
  dim: plain,
  map: plain,
  cast: plain,
  reshape: view,
  transpose: view,
  broadcast: view,
  slice: view,
  concat: view,
  gather: plain,
  gather_nd: plain,
  reduce: plain,
  scan: plain,
  top_k: plain,
  scatter: plain,
  softmax: plain,
  normalize: plain,
  matmul: plain,
  rotary: plain,
  attention: plain,
  cache_write: { ...plain, updatesState: true },
  paged_write: { ...plain, updatesState: true },
  sample: plain,
  route: plain,
  expert_groups: plain,
  expert_matmul: plain,
  dequantize: plain,
};
