/** What can be told of a model's operators and functions before anything is imported. */
import { FarrierError } from "../../errors.js";
import { nodeLabel, operatorName } from "./labels.js";
import { operators, versionText } from "./operators.js";
import type { OnnxFunction, OnnxGraph, OnnxModel, OnnxNode } from "./wire/types.js";

export const opsetRange = { min: 7, max: 28 } as const;
export const mostNodes = 1_000_000;
/** Nodes of functions and of subgraphs, counted each time that they are written out. */
export const mostWritten = 262_144;
/** Functions called by functions, and subgraphs within subgraphs. */
export const deepestCalls = 100;

/** Operators whose first versions mean what those of opset 7 do. */
const unchanged: ReadonlySet<string> = new Set([
  ...["ArgMax", "ArgMin", "DepthToSpace", "Flatten", "Gather", "GlobalAveragePool"],
  ...["GlobalMaxPool", "Hardmax", "LogSoftmax", "MatMul", "Not", "Shape", "Size", "Slice"],
  ...["Softmax", "Softplus", "Softsign", "SpaceToDepth", "Squeeze", "Transpose", "Unsqueeze"],
]);

export type Opsets = ReadonlyMap<string, number>;

export const functionKey = (node: Pick<OnnxNode, "domain" | "op" | "overload">): string =>
  JSON.stringify([node.domain, node.op, node.overload]);

/** The model's own functions by the nodes that call them. */
export function functionTable(model: OnnxModel): Map<string, OnnxFunction> {
  const table = new Map<string, OnnxFunction>();
  for (const body of model.functions) {
    const key = functionKey({ ...body, op: body.name });
    if (table.has(key)) {
      const where = `function ${operatorName({ ...body, op: body.name })}`;
      throw new FarrierError("E_FUNC_DUPLICATE", "is defined twice", { where });
    }
    table.set(key, body);
  }
  return table;
}

/** @param old whether operators that never changed may be of older sets */
export function checkOpsets(opsets: Opsets, old = false): void {
  const version = opsets.get("");
  if (opsets.size === 0) throw new FarrierError("E_OPSET", "the model imports no operator set");
  const min = old ? 1 : opsetRange.min;
  if (version === undefined || (version >= min && version <= opsetRange.max)) return;
  const what = `got ${version}, supported ${opsetRange.min}..${opsetRange.max}`;
  throw new FarrierError("E_OPSET", what, { where: "opset_import" });
}

/** The nodes and those of their subgraphs. */
function* withSubgraphs(nodes: readonly OnnxNode[]): Generator<OnnxNode> {
  for (const node of nodes) {
    yield node;
    for (const attribute of node.attributes.values()) {
      if (attribute.type === "graph") yield* withSubgraphs(attribute.value.nodes);
      if (attribute.type === "graphs")
        for (const graph of attribute.value) yield* withSubgraphs(graph.nodes);
    }
  }
}

interface Body {
  readonly nodes: readonly OnnxNode[];
  readonly opsets: Opsets;
}

interface Missing {
  readonly first: OnnxNode;
  count: number;
}

/**
 * Refuses operators that farrier does not know, all in one error, and those that the model's operator
 * set does not have. Of subgraphs too: which of them run is not known yet.
 */
export function checkOperators(
  graph: OnnxGraph,
  opsets: Opsets,
  functions: ReadonlyMap<string, OnnxFunction>,
): void {
  const bodies: Body[] = [{ nodes: graph.nodes, opsets }];
  const called = new Set<OnnxFunction>();
  const missing = new Map<string, Missing>();
  let version: FarrierError | null = null;
  for (let body = bodies.pop(); body !== undefined; body = bodies.pop())
    for (const node of withSubgraphs(body.nodes)) {
      const callee = functions.get(functionKey(node));
      if (callee !== undefined) {
        if (!called.has(callee)) bodies.push({ nodes: callee.nodes, opsets: callee.opsets });
        called.add(callee);
        continue;
      }
      const entries = operators.get(`${node.domain}:${node.op}`);
      if (entries === undefined) note(missing, node);
      else version ??= versionError(node, body.opsets);
    }
  if (missing.size > 0) throw unsupported(missing);
  if (version !== null) throw version;
}

function note(missing: Map<string, Missing>, node: OnnxNode): void {
  const name = operatorName(node);
  const known = missing.get(name);
  if (known === undefined) missing.set(name, { first: node, count: 1 });
  else known.count++;
}

function unsupported(missing: ReadonlyMap<string, Missing>): FarrierError {
  const list = [...missing].map(
    ([name, { first, count }]) => `${name} (${count}, first ${nodeLabel(first)})`,
  );
  const what = `operators that are not supported: ${list.join("; ")}`;
  return new FarrierError("E_OP_UNSUPPORTED", what);
}

function versionError(node: OnnxNode, opsets: Opsets): FarrierError | null {
  const opset = opsets.get(node.domain);
  const where = nodeLabel(node);
  if (opset === undefined)
    return new FarrierError("E_OPSET", "the model does not import its operator set", { where });
  if (node.domain === "") checkOpsets(opsets, unchanged.has(node.op));
  const entry = operators.get(`${node.domain}:${node.op}`)!;
  if (opset >= entry.since && opset <= (entry.until ?? Infinity)) return null;
  const what = `${operatorName(node)} is ${versionText(entry)}, the model is of opset ${opset}`;
  return new FarrierError("E_OP_VERSION", what, { where });
}

/** Refuses recursion, and more nodes or deeper calls than the limits once calls are inlined. */
export function checkFunctions(
  graph: OnnxGraph,
  functions: ReadonlyMap<string, OnnxFunction>,
): void {
  const sizes = new Map<OnnxFunction, { nodes: number; depth: number }>();
  const open = new Set<OnnxFunction>();
  const calls = (nodes: readonly OnnxNode[]): OnnxFunction[] =>
    [...withSubgraphs(nodes)].flatMap((node) => functions.get(functionKey(node)) ?? []);
  const measure = (nodes: readonly OnnxNode[]): { nodes: number; depth: number } => {
    let total = 0;
    let depth = 0;
    for (const node of withSubgraphs(nodes)) {
      const callee = functions.get(functionKey(node));
      const size = callee === undefined ? { nodes: 1, depth: 0 } : sizes.get(callee)!;
      total += size.nodes;
      depth = Math.max(depth, size.depth + (callee === undefined ? 0 : 1));
    }
    return { nodes: total, depth };
  };
  const stack = calls(graph.nodes).reverse();
  while (stack.length > 0) {
    const top = stack[stack.length - 1]!;
    if (sizes.has(top)) {
      stack.pop();
      continue;
    }
    const callees = calls(top.nodes).filter((callee) => !sizes.has(callee));
    if (callees.length > 0) {
      open.add(top);
      const again = callees.find((callee) => open.has(callee));
      if (again !== undefined) throw recursion(again);
      stack.push(...callees);
      continue;
    }
    sizes.set(top, measure(top.nodes));
    open.delete(top);
    stack.pop();
  }
  const { nodes, depth } = measure(graph.nodes);
  if (nodes > mostNodes)
    throw new FarrierError(
      "E_LIMIT_NODES",
      `${nodes} nodes with its functions inlined, the limit is ${mostNodes}`,
    );
  if (depth > deepestCalls)
    throw new FarrierError(
      "E_GRAPH_DEPTH",
      `functions call each other ${depth} levels deep, the limit is ${deepestCalls}`,
    );
}

const recursion = (body: OnnxFunction): FarrierError =>
  new FarrierError("E_FUNC_RECURSION", "calls itself", {
    where: `function ${operatorName({ ...body, op: body.name })}`,
  });
