/** Rules of routing and of products by experts. */
import { add, constValue, int, mul } from "../scalar/build.js";
import { isFloat } from "./dtype.js";
import type { Shape } from "./graph.js";
import type { OpName } from "./ops.js";
import { need, takes, type Proposal, type Signature } from "./rules-base.js";
import { printShape, sameShape } from "./shape.js";

function routeRule(p: Proposal<"route">): Signature {
  const [choice] = takes(p, 1);
  const { count, groups, kept, rank } = p.attrs;
  const experts = constValue(choice.shape[1] ?? int(0));
  // C1: rows of a known number of choices, which are floats.
  const known = choice.shape.length === 2 && experts !== null && isFloat(choice.dtype);
  need(known, p, "E_ROUTE", () => `${choice.dtype} ${printShape(choice.shape)}`);
  const size = experts! / groups;
  // C2: whole groups, of which some are kept; two elements at least where two are added.
  const legal =
    [size, kept, count].every((n) => Number.isInteger(n) && n >= 1) &&
    kept <= groups &&
    (groups === 1 || rank === "largest" || size >= 2);
  need(legal, p, "E_ROUTE", () => `${kept} of ${groups} groups of ${experts}`);
  // C3: as many as may be chosen from.
  need(count <= kept * size, p, "E_ROUTE", () => `${count} of ${kept} times ${size}`);
  return { dtype: "i32", shape: [choice.shape[0]!, int(count)] };
}

/** The shape of `expert_groups` of `chosen`. */
const groupsShape = (chosen: Shape, experts: number): Shape => [
  add(int(2 * experts + 1), mul(chosen[0]!, chosen[1]!)),
];

function groupsRule(p: Proposal<"expert_groups">): Signature {
  const [chosen] = takes(p, 1);
  const { experts } = p.attrs;
  const fits = chosen.shape.length === 2 && chosen.dtype === "i32";
  need(fits, p, "E_EXPERTS", () => `${chosen.dtype} ${printShape(chosen.shape)}`);
  const legal = Number.isInteger(experts) && experts >= 1;
  need(legal, p, "E_EXPERTS", () => `${experts} experts`);
  return { dtype: "i32", shape: groupsShape(chosen.shape, experts) };
}

function expertMatmulRule(p: Proposal<"expert_matmul">): Signature {
  const [x, weights, chosen, groups] = p.inputs;
  if (x === undefined || weights === undefined || chosen === undefined || groups === undefined)
    return takes(p, 3)[0];
  const shapes = (): string =>
    `${[x, weights, chosen, groups].map((node) => printShape(node.shape)).join(", ")}`;
  const rank = x.shape.length;
  const outer = rank === 3 ? chosen.shape : chosen.shape.slice(0, 1);
  const experts = constValue(weights.shape[0] ?? int(0));
  // C1: a row for each token or for each of its experts; a matrix of as many rows for each expert.
  const fits =
    chosen.shape.length === 2 &&
    weights.shape.length === 3 &&
    experts !== null &&
    (rank === 2 || rank === 3) &&
    sameShape(x.shape.slice(0, -1), outer) &&
    x.shape[rank - 1] === weights.shape[1];
  need(fits, p, "E_EXPERTS", shapes);
  // C2: the groups of these choices.
  const grouped =
    groups.dtype === "i32" && sameShape(groups.shape, groupsShape(chosen.shape, experts!));
  need(grouped, p, "E_EXPERTS", shapes);
  // C3: one float type, and indices.
  const typed = isFloat(x.dtype) && x.dtype === weights.dtype && chosen.dtype === "i32";
  need(typed, p, "E_DTYPE", () => `${x.dtype} times ${weights.dtype}, ${chosen.dtype}`);
  return { dtype: x.dtype, shape: [...chosen.shape, weights.shape[2]!] };
}

type ExpertOp = Extract<OpName, "route" | "expert_groups" | "expert_matmul">;

export const expertRules: { readonly [O in ExpertOp]: (p: Proposal<O>) => Signature } = {
  route: routeRule,
  expert_groups: groupsRule,
  expert_matmul: expertMatmulRule,
};
