/** What a gemm's stores know of their rows and columns, whatever computed the sums. */
import type { GemmDesc } from "../../compiler/kernel/desc.js";
import { alignmentOf } from "../../compiler/codegen/affine.js";
import type { Block, Value } from "../../compiler/codegen/ptx/builder.js";
import type { Scope } from "../../compiler/codegen/ptx/expr.js";
import { extentValue } from "../../compiler/codegen/ptx/geometry.js";
import { ptx } from "../../compiler/codegen/ptx/instructions.js";
import { integer } from "../../compiler/codegen/ptx/mma.js";

/** A scope, and whether it exists at all; null: it always does. */
export interface Place {
  readonly scope: Scope;
  readonly inside: Value | null;
}

/** `lanes` logical columns from `n` on, in tiles of `columns` logical columns. */
export function columnPlace(
  desc: GemmDesc,
  parent: Scope,
  before: Block,
  n: Value,
  { columns, lanes }: { readonly columns: number; readonly lanes: number },
): Place {
  const { b } = parent;
  const extent = extentValue(parent, desc.nExtent, "s32");
  const whole = alignmentOf(desc.nExtent, columns) === columns;
  const together = alignmentOf(desc.nExtent, lanes) === lanes;
  const guard = whole
    ? null
    : Array.from({ length: together ? 1 : lanes }, (_, lane) =>
        b.op(ptx.setp("lt", "s32"), "pred", integer(b, "add", n, lane), extent),
      );
  const scope = parent
    .child({ block: before, lanes, guard })
    .bind(desc.n, n, { step: 1, multiple: lanes });
  return { scope, inside: together && guard !== null ? guard[0]! : null };
}

/** Row `m`, in tiles of `rows` rows. */
export function rowPlace(
  desc: GemmDesc,
  parent: Scope,
  into: Block,
  m: Value,
  rows: number,
): Place {
  const { b } = parent;
  const whole = alignmentOf(desc.mExtent, rows) === rows;
  const inside = whole
    ? null
    : b.op(ptx.setp("lt", "s32"), "pred", m, extentValue(parent, desc.mExtent, "s32"));
  return { scope: parent.child({ block: into }).bind(desc.m, m), inside };
}
