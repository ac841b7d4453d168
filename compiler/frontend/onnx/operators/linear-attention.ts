/** Attention as a recurrence over a state of one matrix per head, written out step by step. */
import { matmul } from "../../../ir/build-anchor.js";
import { broadcastTo, cast, concat, constantScalar, reshape, slice } from "../../../ir/build.js";
import type { Node } from "../../../ir/graph.js";
import { int } from "../../../scalar/build.js";
import type { Call } from "../call.js";
import { repeatedHeads } from "./attention.js";
import { apply, scalarLike, swapLast } from "./common.js";

/** Steps that are written out. */
const mostSteps = 4096;

const rules = ["linear", "gated", "delta", "gated_delta"] as const;

interface Sequences {
  readonly query: Node;
  readonly key: Node;
  readonly value: Node;
  readonly decay: Node | undefined;
  readonly beta: Node | undefined;
}

/** Inputs as [batch, steps, heads, size], in f32. */
function sequencesOf(call: Call, count: number, groups: number): Sequences {
  const { g, attrs } = call;
  const rule = attrs.choice("update_rule", rules, "gated_delta");
  const apart = (x: Node, heads: number): Node =>
    reshape(g, cast(g, call.ranked(x, 3), "f32"), [x.shape[0]!, x.shape[1]!, heads, -1]);
  const [decay, beta] = [call.optional(4), call.optional(5)];
  const [gated, corrected] = [rule.startsWith("gated"), rule.endsWith("delta")];
  if (gated !== (decay !== undefined) || corrected !== (beta !== undefined))
    throw call.error("E_ATTENTION", `decay or beta do not fit the rule ${rule}`);
  const shared = beta === undefined ? 1 : call.extent(call.ranked(beta, 3).shape[2]!, "beta");
  return {
    query: apart(call.input(0), count),
    key: apart(call.input(1), groups),
    value: apart(call.input(2), groups),
    decay: decay && apart(decay, groups),
    beta: beta && apart(beta, shared),
  };
}

export function LinearAttention(call: Call): readonly Node[] {
  const { g, attrs } = call;
  const [count, groups] = [attrs.int("q_num_heads"), attrs.int("kv_num_heads")];
  if (count === undefined || groups === undefined) throw attrs.missing("q_num_heads");
  attrs.ignore("chunk_size");
  const sequences = sequencesOf(call, count, groups);
  const { query, key, value } = sequences;
  const [size, width] = [key.shape[3]!, value.shape[3]!];
  const steps = call.extent(query.shape[1]!, "a sequence");
  if (steps > mostSteps) throw call.unsupported(`more than ${mostSteps} steps of a recurrence`);
  const scale = attrs.float("scale", 0) || 1 / Math.sqrt(call.extent(size, "a head"));
  const past = call.optional(3);
  let state =
    past === undefined
      ? broadcastTo(g, constantScalar(g, "f32", 0), [query.shape[0]!, groups, size, width])
      : cast(g, past, "f32");
  const rows: Node[] = [];
  for (let step = 0; step < steps; step++) {
    state = updated(call, state, sequences, step);
    const read = repeatedHeads(call, state, int(count));
    const row = matmul(g, asRow(call, query, step), read);
    rows.push(apply(g, "mul", row, scalarLike(g, row, scale)));
  }
  // Rows are [batch, heads, 1, width]: the step's own axis goes before the heads.
  const [batch, heads] = [query.shape[0]!, query.shape[2]!];
  const placed = rows.map((row) => reshape(g, row, [batch, 1, heads, width]));
  const whole = reshape(g, concat(g, placed, 1), [batch, steps, -1]);
  const { dtype } = call.input(0);
  return [cast(g, whole, dtype), cast(g, state, dtype)];
}

/** What a sequence has at a step, as [batch, heads, 1, size]. */
function asRow({ g }: Call, x: Node, step: number): Node {
  const [batch, , heads, size] = x.shape;
  const part = slice(g, x, { axis: 1, start: step, end: step + 1 });
  return reshape(g, part, [batch!, heads!, 1, size!]);
}

function updated(call: Call, before: Node, sequences: Sequences, step: number): Node {
  const { g } = call;
  const { key, value, decay, beta } = sequences;
  const column = swapLast(g, asRow(call, key, step));
  const kept =
    decay === undefined
      ? before
      : apply(g, "mul", before, apply(g, "exp", swapLast(g, asRow(call, decay, step))));
  const fresh = asRow(call, value, step);
  if (beta === undefined) return apply(g, "add", kept, matmul(g, column, fresh));
  // Only what the state does not say already is written.
  const known = matmul(g, swapLast(g, column), kept);
  const change = apply(g, "mul", asRow(call, beta, step), apply(g, "sub", fresh, known));
  return apply(g, "add", kept, matmul(g, column, change));
}
