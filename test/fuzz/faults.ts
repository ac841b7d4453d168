/**
 * Defects of a compiler, small and of every kind, put into what it makes on its way: graphs after
 * passes, kernel descriptions, texts and plans. The fuzzer has to find each of them.
 */
import { make } from "../../compiler/ir/build.js";
import { isFloat } from "../../compiler/ir/dtype.js";
import { isNode, topological, type Graph, type Node } from "../../compiler/ir/graph.js";
import type {
  AttentionDesc,
  GemmDesc,
  KernelDesc,
  ReduceDesc,
} from "../../compiler/kernel/desc.js";
import type { PlannedKernel } from "../../compiler/kernel/memory.js";
import type { BufferRef, HostExpr, Plan, Step, TargetPlans } from "../../compiler/plan/plan.js";
import { substituteNodes } from "../../compiler/rewrite/substitute.js";
import {
  add,
  constant,
  constValue,
  int,
  isConst,
  load,
  lt,
  max,
  mod,
  mul,
  one,
  param,
  rewriteExpr,
  select,
  sub,
  substitute,
  unary,
  zero,
} from "../../compiler/scalar/build.js";
import { isOp, type Expr } from "../../compiler/scalar/expr.js";
import type { Hooks } from "./lower.js";

export interface Fault {
  readonly name: string;
  readonly hooks: Hooks;
}

type Rewrite = (expr: Expr) => Expr | null;

/** A description with every expression of its bodies rewritten; extents stay. */
function bodies(desc: KernelDesc, rewrite: Rewrite, only?: (key: string) => boolean): KernelDesc {
  const visit = (value: unknown, key: string): unknown => {
    if (key === "operands" || key.toLowerCase().includes("extent") || key === "coords")
      return value;
    if (Array.isArray(value)) return value.map((item) => visit(item, key));
    if (typeof value !== "object" || value === null) return value;
    if ("op" in value && "id" in value) {
      const expr = value as Expr;
      const kept = isOp(expr, "coord") || (only !== undefined && !only(key));
      return kept ? expr : rewriteExpr([expr], rewrite)[0]!;
    }
    return Object.fromEntries(
      Object.entries(value).map(([name, item]) => [name, visit(item, name)]),
    );
  };
  return visit(desc, "") as KernelDesc;
}

const inBodies = (name: string, rewrite: Rewrite, only?: (key: string) => boolean): Fault => ({
  name,
  hooks: { kernel: (kernel) => ({ ...kernel, desc: bodies(kernel.desc, rewrite, only) }) },
});

const inKernels = (name: string, spoil: (kernel: PlannedKernel) => KernelDesc): Fault => ({
  name,
  hooks: { kernel: (kernel) => ({ ...kernel, desc: spoil(kernel) }) },
});

const inGemms = (name: string, spoil: (desc: GemmDesc) => GemmDesc): Fault =>
  inKernels(name, ({ desc }) => (desc.family === "gemm" ? spoil(desc) : desc));
const inReductions = (name: string, spoil: (desc: ReduceDesc) => ReduceDesc): Fault =>
  inKernels(name, ({ desc }) => (desc.family === "reduce" ? spoil(desc) : desc));
const inAttention = (name: string, spoil: (desc: AttentionDesc) => AttentionDesc): Fault =>
  inKernels(name, ({ desc }) => (desc.family === "attention" ? spoil(desc) : desc));

const inPlans = (name: string, spoil: (plan: Plan) => Plan): Fault => ({
  name,
  hooks: {
    plans: (plans: TargetPlans): TargetPlans => ({
      ...plans,
      entries: Object.fromEntries(
        Object.entries(plans.entries).map(([entry, list]) => [entry, list.map(spoil)]),
      ),
    }),
  },
});

/** Each node that `spoil` answers for is made again with other attributes or inputs. */
const inGraphs = (name: string, spoil: (graph: Graph, node: Node) => Node | null): Fault => ({
  name,
  hooks: {
    graph(graph) {
      const replacements = new Map<Node, Node>();
      for (const node of topological(graph)) {
        const other = spoil(graph, node);
        if (other !== null && other !== node) replacements.set(node, other);
      }
      return substituteOnce(graph, replacements);
    },
  },
});

/** Nodes are replaced from the last to the first, so that no replacement meets another one. */
function substituteOnce(graph: Graph, replacements: ReadonlyMap<Node, Node>): Graph {
  const last = [...replacements].at(-1);
  return last === undefined ? graph : substituteNodes(graph, new Map([last]));
}

const inTexts = (name: string, from: RegExp, to: string): Fault => ({
  name,
  hooks: { text: (text) => text.replaceAll(from, to) },
});

const isFloatExpr = (expr: Expr): boolean => isFloat(expr.type);
const binaryOf = (expr: Expr): readonly [Expr, Expr] => expr.args as unknown as [Expr, Expr];
const hasMoreThanOne = (extent: Expr): boolean => !isConst(extent, 1);
const oneLess = (extent: Expr): Expr => max(one, sub(extent, one));

const dropsConstant =
  (op: "min" | "max"): Rewrite =>
  (expr) => {
    if (!isOp(expr, op) || !isFloatExpr(expr)) return null;
    const [a, b] = binaryOf(expr);
    return isOp(b, "const") ? a : isOp(a, "const") ? b : null;
  };

const scalarFaults: readonly Fault[] = [
  inBodies("min and max swapped", (expr) => {
    if (!isFloatExpr(expr) || (!isOp(expr, "min") && !isOp(expr, "max"))) return null;
    const [a, b] = binaryOf(expr);
    return select(isOp(expr, "min") ? lt(a, b) : lt(b, a), b, a);
  }),
  inBodies("the upper bound of a clip dropped", dropsConstant("min")),
  inBodies("the lower bound of a clip dropped", dropsConstant("max")),
  inBodies("< for <= between values", (expr) => {
    if (!isOp(expr, "le")) return null;
    return lt(...binaryOf(expr));
  }),
  inBodies("the arms of a select swapped", (expr) => {
    if (!isOp(expr, "select") || !isFloatExpr(expr)) return null;
    const [condition, a, b] = expr.args as unknown as [Expr, Expr, Expr];
    return isOp(condition, "load") || isOp(condition, "cast") || isOp(condition, "ne")
      ? select(condition, b, a)
      : null;
  }),
  inBodies("a rounding left out", (expr) => {
    const [inner] = expr.args;
    if (!isOp(expr, "cast") || expr.type !== "f32" || inner === undefined) return null;
    return isOp(inner, "cast") && inner.args[0]!.type === "f32" ? inner.args[0]! : null;
  }),
  inBodies("a sign lost", (expr) =>
    isOp(expr, "neg") && isFloatExpr(expr) ? expr.args[0]! : null,
  ),
  inBodies("a difference the wrong way round", (expr) =>
    isOp(expr, "sub") && isFloatExpr(expr) ? unary("neg", expr) : null,
  ),
  inBodies("exp2 for exp", (expr) => (isOp(expr, "exp") ? unary("exp2", expr.args[0]!) : null)),
  inBodies("rounding for truncation to integers", (expr) => {
    const [inner] = expr.args;
    if (!isOp(expr, "div") || expr.type !== "i64" || inner === undefined) return null;
    return someLoad(inner) ? add(expr, one) : null;
  }),
];

function someLoad(expr: Expr): boolean {
  return isOp(expr, "load") || (!isOp(expr, "coord") && expr.args.some(someLoad));
}

/** Where a value is written to stays: wrong values, not broken memory, are what is planted. */
const inValues = (name: string, rewrite: Rewrite): Fault =>
  inBodies(name, rewrite, (key) => key !== "offset" && key !== "guard");

const indexFaults: readonly Fault[] = [
  inValues("a stride one too small", (expr) => {
    const [a, b] = expr.args;
    if (!isOp(expr, "mul") || expr.type !== "i64" || !isOp(a!, "coord")) return null;
    const stride = constValue(b!);
    return stride !== null && stride > 1 ? mul(a, int(stride - 1)) : null;
  }),
  inValues("a remainder taken for nothing", (expr) =>
    isOp(expr, "mod") && expr.type === "i64" && !someLoad(expr) ? zero : null,
  ),
  inBodies("a seam of a concatenation one off", (expr) => {
    const [condition, a, b] = expr.args;
    if (!isOp(expr, "select") || !isOp(condition!, "lt")) return null;
    const [at, end] = binaryOf(condition);
    return isOp(at, "coord") && (constValue(end) ?? 0) > 1 && someLoad(a!)
      ? select(lt(at, sub(end, one)), a!, b!)
      : null;
  }),
  inBodies("a gathered row one before", (expr) =>
    isOp(expr, "check") ? max(zero, sub(expr, one)) : null,
  ),
  inGraphs("a slice from the start", (graph, node) => {
    if (!isNode(node, "slice") || node.attrs.steps.some((step) => step < 0)) return null;
    const starts = node.attrs.starts.map(() => zero);
    return make(graph.builder, "slice", node.inputs, { ...node.attrs, starts }, node);
  }),
  inGraphs("the parts of a concatenation in another order", (graph, node) => {
    if (!isNode(node, "concat")) return null;
    return make(graph.builder, "concat", [...node.inputs].reverse(), node.attrs, node);
  }),
  inGraphs("a broadcast along the wrong axis", (graph, node) => {
    const [x] = node.inputs;
    if (!isNode(node, "broadcast") || x?.shape.length !== 2 || node.shape.length !== 2) return null;
    if (node.shape[0] !== node.shape[1] || x.shape[0] === x.shape[1]) return null;
    const turned = make(graph.builder, "transpose", [x], { perm: [1, 0] });
    return make(graph.builder, "broadcast", [turned], null, node);
  }),
];

const reduceFaults: readonly Fault[] = [
  inReductions("the identity of a maximum is zero", (desc) => ({
    ...desc,
    stages: desc.stages.map((stage) =>
      stage.kind === "max" && stage.name === "r" && isFloatExpr(stage.body)
        ? { ...stage, body: max(stage.body, constant(0, stage.body.type)) }
        : stage,
    ),
  })),
  inReductions("the last element of a row left out", (desc) =>
    hasMoreThanOne(desc.axisExtent) && desc.elementStores.length === 0
      ? { ...desc, axisExtent: oneLess(desc.axisExtent) }
      : desc,
  ),
  inReductions("the finish of a stage skipped", (desc) => ({
    ...desc,
    stages: desc.stages.map((stage) => ({
      ...stage,
      finish: param(`${stage.name}.raw`, stage.finish.type),
    })),
  })),
  inBodies("a variance about zero", (expr) =>
    isOp(expr, "param") && expr.attr.name === "mean" ? constant(0, expr.type) : null,
  ),
  inGraphs("a softmax along another axis", (graph, node) => {
    if (!isNode(node, "softmax") || node.shape.length < 2) return null;
    const axis = node.attrs.axis === 0 ? 1 : 0;
    return make(graph.builder, "softmax", node.inputs, { axis });
  }),
];

/** Params acc0 and acc1 changed for one another. */
const swapsAccumulators: Rewrite = (expr) => {
  if (!isOp(expr, "param")) return null;
  const { name } = expr.attr;
  if (name === "acc0") return param("acc1", expr.type);
  return name === "acc1" ? param("acc0", expr.type) : null;
};

const productFaults: readonly Fault[] = [
  inGemms("the last step of a product left out", (desc) =>
    hasMoreThanOne(desc.kExtent) && desc.b.kind === "strided"
      ? { ...desc, kExtent: oneLess(desc.kExtent) }
      : desc,
  ),
  inGemms("the last row of a product left out", (desc) =>
    hasMoreThanOne(desc.mExtent) ? { ...desc, mExtent: oneLess(desc.mExtent) } : desc,
  ),
  inGemms("a bias dropped", (desc) => ({
    ...desc,
    stores: desc.stores.map((store) => ({
      ...store,
      value: rewriteExpr([store.value], (expr) => {
        if (!isOp(expr, "add") || !isFloatExpr(expr)) return null;
        const [a, b] = binaryOf(expr);
        return isOp(a, "param") ? a : isOp(b, "param") ? b : null;
      })[0]!,
    })),
  })),
  inKernels("two columns of a weight changed for one another", ({ desc }) => {
    if (desc.family === "gemm" && desc.group === 2) return bodies(desc, swapsAccumulators);
    if (!desc.label.startsWith("pack ")) return desc;
    return bodies(desc, (expr) => {
      if (!isOp(expr, "lt") || !isOp(expr.args[1]!, "const")) return null;
      const [at, end] = binaryOf(expr);
      return lt(at, sub(end, one));
    });
  }),
];

const attentionFaults: readonly Fault[] = [
  inAttention("the last key of each query left out", (desc) => ({
    ...desc,
    bounds: { ...desc.bounds, end: max(one, sub(desc.bounds.end, one)) },
  })),
  inAttention("the scale of scores left out", (desc) => ({ ...desc, scale: 1 })),
  inAttention("the next group's keys", (desc) => {
    const next = mod(add(desc.g, one), desc.extents.g);
    const keys = isOp(desc.g, "coord")
      ? substitute([desc.keys], new Map([[desc.g, next]]))[0]!
      : desc.keys;
    return { ...desc, keys };
  }),
  inGraphs("the pairs of a rotation taken the other way", (graph, node) => {
    if (!isNode(node, "rotary")) return null;
    const interleaved = !node.attrs.interleaved;
    return make(graph.builder, "rotary", node.inputs, { interleaved });
  }),
  inKernels("a cache written one position late", ({ desc, buffers }) => {
    const states = buffers.flatMap(({ place }, i) =>
      place === "state" ? [desc.operands[i]!] : [],
    );
    const written = states.filter(({ access }) => access !== "read").map(({ name }) => name);
    if (written.length === 0 || !("stores" in desc)) return desc;
    const late: Rewrite = (expr) =>
      isOp(expr, "load") && expr.type === "i64"
        ? add(load(expr.attr.buffer, expr.args[0]!, "i64"), one)
        : null;
    const stores = desc.stores.map((store) =>
      written.includes(store.operand)
        ? {
            ...store,
            offset: rewriteExpr([store.offset], late)[0]!,
            guard: store.guard === null ? null : rewriteExpr([store.guard], late)[0]!,
          }
        : store,
    );
    return { ...desc, stores };
  }),
];

const takenOnce = (value: HostExpr): HostExpr =>
  typeof value === "number" ? Math.max(1, value - 1) : ["max", 1, ["sub", value, 1]];

const planFaults: readonly Fault[] = [
  inPlans("two temporaries in one place", (plan) => ({
    ...plan,
    steps: plan.steps.map((step): Step => ({
      ...step,
      buffers: step.buffers.map((ref): BufferRef =>
        ref.kind === "arena" ? { ...ref, offset: 0 } : ref,
      ),
    })),
  })),
  inPlans("a step left out", (plan) =>
    plan.steps.length < 2 ? plan : { ...plan, steps: plan.steps.slice(1) },
  ),
  inPlans("the last task of a step left out", (plan) => ({
    ...plan,
    steps: plan.steps.map((step) =>
      step.tasks === undefined ? step : { ...step, tasks: takenOnce(step.tasks) },
    ),
  })),
  inPlans("a length of one run used for all", (plan) => ({
    ...plan,
    steps: plan.steps.map((step) => ({ ...step, scalars: step.scalars.map(takenOnce) })),
  })),
  inTexts("bf16 by cutting bits off", /\(u \+ 0x7fffu \+ \(u >> 16 & 1u\)\) >> 16/g, "u >> 16"),
  inTexts("the tail of a loop one short", /i < count; \+\+i/g, "i < count - (count > 7); ++i"),
  // The wrong way round it would write outside of what it guards.
  inKernels("a guarded store never made", ({ desc }) => {
    if (!("stores" in desc)) return desc;
    const stores = desc.stores.map((store) =>
      store.guard === null ? store : { ...store, guard: lt(one, zero) },
    );
    return { ...desc, stores };
  }),
];

export const faults: readonly Fault[] = [
  ...scalarFaults,
  ...indexFaults,
  ...reduceFaults,
  ...productFaults,
  ...attentionFaults,
  ...planFaults,
];
