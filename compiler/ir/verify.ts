/**
 * The verifier, run after every pass: each node obeys its operator's rule, and states are updated in
 * linear chains. What only a pass can break is a defect of farrier; E_STATE_ORDER a model can cause.
 */
import { bug, FarrierError } from "../errors.js";
import { topological, usersOf, type Graph, type GraphState, type Node } from "./graph.js";
import { opTraits } from "./traits.js";
import { signatureOf } from "./rules.js";
import { printShape, sameShape } from "./shape.js";

/** Throws unless `graph` is well formed; `pass` is what ran last, for the message. */
export function verify(graph: Graph, pass: string): void {
  const order = topological(graph);
  for (const node of order) {
    // Nodes never change: one that was right stays right.
    if (verified.has(node)) continue;
    verifyNode(graph, node, pass);
    verified.add(node);
  }
  verifyInterface(graph, order, pass);
  if (graph.states.length === 0) return;
  const users = usersOf(graph);
  for (const state of graph.states) verifyChain(graph, state, users);
}

const verified = new WeakSet<Node>();

/** What depends on `start`, itself included, inputs before users. */
function above(start: Node, users: ReadonlyMap<Node, readonly Node[]>): Node[] {
  const found = new Set<Node>([start]);
  for (const node of found) for (const user of users.get(node) ?? []) found.add(user);
  return [...found].sort((a, b) => a.id - b.id);
}

function label(graph: Graph, node: Node): string {
  const name = graph.builder.nameOf(node);
  return name === undefined ? `${node.op} #${node.id}` : `${node.op} ${JSON.stringify(name)}`;
}

function verifyNode(graph: Graph, node: Node, pass: string): void {
  const fail = (what: string): FarrierError => bug(`after ${pass}: ${label(graph, node)} ${what}`);
  const { inputs, shape: dims, attrs } = node;
  // What is no object is frozen.
  if (![node, inputs, dims, attrs].every(Object.isFrozen)) throw fail("is not frozen");
  if (node.inputs.some((input) => input.id >= node.id)) throw fail("has an input made after it");
  if (!graph.builder.made(node)) throw fail("is not interned in its graph");
  const { dtype, shape } = rule(graph, node, fail);
  if (dtype !== node.dtype || !sameShape(shape, node.shape))
    throw fail(
      `is ${node.dtype}${printShape(node.shape)}, its rule says ${dtype}${printShape(shape)}`,
    );
}

function rule(
  graph: Graph,
  node: Node,
  fail: (what: string) => FarrierError,
): ReturnType<typeof signatureOf> {
  try {
    return signatureOf({
      ...node,
      // A getter: the text is needed for errors only.
      get where() {
        return label(graph, node);
      },
    });
  } catch (error) {
    if (error instanceof FarrierError) throw fail(`breaks its rule: ${error.message}`);
    throw error;
  }
}

/** Names are unique, and every `input` and `state` node is one that the graph declares. */
function verifyInterface(graph: Graph, order: readonly Node[], pass: string): void {
  unique(
    graph.inputs.map((node) => node.attrs.name),
    "inputs",
    pass,
  );
  unique(
    graph.outputs.map((output) => output.name),
    "outputs",
    pass,
  );
  unique(
    graph.states.map((state) => state.name),
    "states",
    pass,
  );
  const known = new Set<Node>([...graph.inputs, ...graph.states.map((state) => state.initial)]);
  for (const node of order)
    if (opTraits[node.op].external && !known.has(node))
      throw bug(`after ${pass}: ${label(graph, node)} is not declared by the graph`);
}

function unique(names: readonly string[], what: string, pass: string): void {
  const seen = new Set<string>();
  for (const name of names) {
    if (seen.has(name)) throw bug(`after ${pass}: two ${what} named ${JSON.stringify(name)}`);
    seen.add(name);
  }
}

/**
 * A state is one buffer: version i + 1 overwrites version i, so whoever reads version i, directly or
 * through index maps, must come before its successor.
 */
function verifyChain(
  graph: Graph,
  state: GraphState,
  users: ReadonlyMap<Node, readonly Node[]>,
): void {
  const versions = versionsOf(graph, state, users);
  if (onlyLastIsRead(graph, versions, users)) return;
  /** The latest version that each node depends on; -1 for none. */
  const after = new Map<Node, number>();
  /** The oldest version that each index map of one shows. */
  const shows = new Map<Node, number>();
  const stale = (reader: string, version: number, behind: number): FarrierError =>
    new FarrierError(
      "E_STATE_ORDER",
      `${reader} reads version ${version} of the state, which version ${behind} has overwritten`,
      { where: `state ${JSON.stringify(state.name)}`, hint: "read the newest version" },
    );
  for (const node of above(state.initial, users)) {
    const own = versions.get(node);
    const latest = node.inputs.reduce((max, input) => Math.max(max, after.get(input) ?? -1), -1);
    for (const input of node.inputs) {
      const version = shows.get(input);
      const limit = own === undefined ? latest : own - 1;
      if (version !== undefined && limit > version) throw stale(label(graph, node), version, limit);
    }
    after.set(node, own ?? latest);
    const viewed = opTraits[node.op].view ? node.inputs.map((x) => shows.get(x) ?? Infinity) : [];
    const oldest = own ?? Math.min(...viewed);
    if (oldest !== Infinity) shows.set(node, oldest);
  }
  const last = versions.size - 1;
  for (const { name, node } of graph.outputs) {
    const version = shows.get(node);
    if (version !== undefined && version < last)
      throw stale(`output ${JSON.stringify(name)}`, version, last);
  }
}

/** Whether nothing but the next version reads one that is overwritten: nothing is stale then. */
function onlyLastIsRead(
  graph: Graph,
  versions: ReadonlyMap<Node, number>,
  users: ReadonlyMap<Node, readonly Node[]>,
): boolean {
  const outputs = new Set(graph.outputs.map(({ node }) => node));
  return [...versions].every(
    ([node, version]) =>
      version === versions.size - 1 ||
      (!outputs.has(node) &&
        users.get(node)!.every((user) => versions.get(user) === version + 1) &&
        users.get(node)!.length === 1),
  );
}

/** The chain from `initial` to `final`, numbered; forks are errors. */
function versionsOf(
  graph: Graph,
  state: GraphState,
  users: ReadonlyMap<Node, readonly Node[]>,
): Map<Node, number> {
  const where = `state ${JSON.stringify(state.name)}`;
  const chain: Node[] = [];
  let node: Node = state.final;
  while (opTraits[node.op].updatesState) {
    chain.push(node);
    node = node.inputs[0]!;
  }
  if (node !== state.initial)
    throw new FarrierError("E_STATE_ORDER", `its last version comes from ${label(graph, node)}`, {
      where,
    });
  chain.push(node);
  const versions = new Map(chain.reverse().map((version, index) => [version, index]));
  for (const other of chain.flatMap((version) => users.get(version) ?? []))
    if (opTraits[other.op].updatesState && versions.has(other.inputs[0]!) && !versions.has(other))
      throw new FarrierError("E_STATE_ORDER", `${label(graph, other)} forks the chain`, { where });
  return versions;
}
