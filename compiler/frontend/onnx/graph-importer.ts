/** Walks a graph and makes its nodes, inlining functions and the subgraphs that run. */
import { bug, FarrierError } from "../../errors.js";
import { at } from "../../ir/build.js";
import type { GraphBuilder, Node } from "../../ir/graph.js";
import { Attributes } from "./attributes.js";
import { Call, type CallContext } from "./call.js";
import { checkNames } from "./check-names.js";
import {
  deepestCalls,
  functionKey,
  mostNodes,
  mostWritten,
  type Opsets,
} from "./check-operators.js";
import type { Constants } from "./constants.js";
import type { HostValues } from "./host-values.js";
import { nodeLabel, quoted } from "./labels.js";
import { operators } from "./operators.js";
import type { ValueChecks } from "./value-checks.js";
import type { OnnxAttribute, OnnxFunction, OnnxGraph, OnnxNode, OnnxTensor } from "./wire/types.js";

type AttributeMap = ReadonlyMap<string, OnnxAttribute>;

/** Values by name; those of an enclosing graph are seen from its subgraphs. */
class Scope {
  readonly #values = new Map<string, Node | OnnxTensor>();

  constructor(readonly outer: Scope | null) {}

  set(name: string, value: Node | OnnxTensor): void {
    this.#values.set(name, value);
  }

  get(name: string): Node | OnnxTensor | undefined {
    return this.#values.get(name) ?? this.outer?.get(name);
  }
}

/** What the nodes of one body have in common. */
interface Frame {
  readonly scope: Scope;
  readonly opsets: Opsets;
  /** Of the calling node: what `ref` attributes stand for. */
  readonly attributes: AttributeMap | null;
  /** What errors say before the node. */
  readonly prefix: string;
  readonly depth: number;
  readonly checks: ValueChecks | null;
}

export interface ImporterOptions {
  readonly g: GraphBuilder;
  readonly host: HostValues;
  readonly constants: Constants;
  readonly functions: ReadonlyMap<string, OnnxFunction>;
}

export class GraphImporter {
  readonly #options: ImporterOptions;
  #count = 0;
  /** Of these, nodes of functions and subgraphs, as often as they run. */
  #written = 0;

  constructor(options: ImporterOptions) {
    this.#options = options;
  }

  /** The outputs' values, in order. */
  main(
    graph: OnnxGraph,
    inputs: ReadonlyMap<string, Node>,
    opsets: Opsets,
    checks: ValueChecks,
  ): Node[] {
    const scope = new Scope(null);
    const frame = { scope, opsets, attributes: null, prefix: "", depth: 0, checks };
    return this.#graph(graph, inputs, frame);
  }

  #graph(graph: OnnxGraph, inputs: ReadonlyMap<string, Node>, frame: Frame): Node[] {
    checkNames(
      {
        nodes: graph.nodes,
        inputs: graph.inputs.map(({ name }) => name),
        initializers: [...graph.initializers.map(({ name }) => name), ...graph.sparseInitializers],
        outputs: graph.outputs.map(({ name }) => name),
      },
      (name) => frame.scope.outer?.get(name) !== undefined,
    );
    const [sparse] = graph.sparseInitializers;
    if (sparse !== undefined)
      throw new FarrierError("E_TYPE_UNSUPPORTED", "a sparse tensor", {
        where: `initializer ${quoted(sparse)}`,
      });
    for (const tensor of graph.initializers) frame.scope.set(tensor.name, tensor);
    for (const [name, node] of inputs) frame.scope.set(name, node);
    this.#nodes(graph.nodes, frame);
    return graph.outputs.map(({ name }) => this.#value(name, frame));
  }

  #nodes(nodes: readonly OnnxNode[], frame: Frame): void {
    for (const node of nodes) {
      const where = frame.prefix + nodeLabel(node);
      this.#checkCount(frame, where);
      const inputs = node.inputs.map((name) =>
        name === "" ? undefined : this.#value(name, frame),
      );
      const resolved = resolve(node, frame);
      const callee = this.#options.functions.get(functionKey(node));
      const outputs =
        callee === undefined
          ? this.#operator(resolved, inputs, frame, where)
          : this.#function(callee, resolved, inputs, frame, where);
      this.#define(node, outputs, frame, where);
    }
  }

  /** A short file can ask for any number of nodes by loops and functions: fewer of these are taken. */
  #checkCount({ depth }: Frame, where: string): void {
    if (++this.#count > mostNodes)
      throw new FarrierError("E_LIMIT_NODES", `more than ${mostNodes} nodes`, { where });
    if (depth > 0 && ++this.#written > mostWritten)
      throw new FarrierError(
        "E_LIMIT_FOLD",
        `loops, branches and functions of more than ${mostWritten} nodes, written out`,
        { where },
      );
  }

  #value(name: string, { scope }: Frame): Node {
    const value = scope.get(name);
    if (value === undefined) throw bug(`value ${name} is not defined`);
    return "data" in value ? this.#options.constants.node(value, name) : value;
  }

  #operator(
    node: OnnxNode,
    inputs: readonly (Node | undefined)[],
    frame: Frame,
    where: string,
  ): readonly Node[] {
    const entry = operators.get(`${node.domain}:${node.op}`);
    if (entry === undefined) throw bug(`${node.op} was not checked`);
    const context: CallContext = {
      ...this.#options,
      runSubgraph: (graph, values) => this.#subgraph(graph, values, frame, where),
    };
    const attributes = new Attributes(node.attributes, where);
    const version = frame.opsets.get(node.domain)!;
    const call = new Call(context, node, version, attributes, inputs, where);
    const made = at(this.#options.g, where, () => entry.run(call));
    call.finish();
    return Array.isArray(made) ? (made as readonly Node[]) : [made as Node];
  }

  #subgraph(
    graph: OnnxGraph,
    values: readonly Node[],
    frame: Frame,
    where: string,
  ): readonly Node[] {
    const depth = deeper(frame.depth, where);
    if (values.length !== graph.inputs.length)
      throw new FarrierError(
        "E_GRAPH_INPUTS",
        `the subgraph takes ${graph.inputs.length} inputs, is given ${values.length}`,
        { where },
      );
    const inputs = new Map(graph.inputs.map(({ name }, i) => [name, values[i]!]));
    const scope = new Scope(frame.scope);
    return this.#graph(graph, inputs, {
      ...frame,
      scope,
      depth,
      prefix: `${where}, `,
      checks: null,
    });
  }

  #function(
    body: OnnxFunction,
    node: OnnxNode,
    inputs: readonly (Node | undefined)[],
    frame: Frame,
    where: string,
  ): readonly Node[] {
    const depth = deeper(frame.depth, where);
    if (inputs.length > body.inputs.length || node.outputs.length > body.outputs.length)
      throw new FarrierError(
        "E_FUNC_ARITY",
        `the function has ${body.inputs.length} inputs and ${body.outputs.length} outputs`,
        { where },
      );
    checkNames({ ...body, initializers: [] }, () => false);
    const scope = new Scope(null);
    const absent = new Set<string>();
    body.inputs.forEach((name, i) => {
      const value = inputs[i];
      if (value === undefined) absent.add(name);
      else scope.set(name, value);
    });
    const unknown = [...node.attributes.keys()].find(
      (name) => !body.attributes.includes(name) && !body.defaults.has(name),
    );
    if (unknown !== undefined)
      throw new FarrierError("E_ATTR_UNKNOWN", `attribute ${quoted(unknown)}`, { where });
    const attributes = new Map([...body.defaults, ...node.attributes]);
    // An input that the caller left out is left out inside, too.
    const nodes = body.nodes.map((each) =>
      each.inputs.some((name) => absent.has(name))
        ? { ...each, inputs: each.inputs.map((name) => (absent.has(name) ? "" : name)) }
        : each,
    );
    const { opsets } = body;
    const inner = { scope, opsets, attributes, prefix: `${where}, `, depth, checks: null };
    this.#nodes(nodes, inner);
    return body.outputs.slice(0, node.outputs.length).map((name) => this.#value(name, inner));
  }

  #define(node: OnnxNode, outputs: readonly Node[], frame: Frame, where: string): void {
    node.outputs.forEach((name, i) => {
      if (name === "") return;
      const made = outputs[i];
      if (made === undefined)
        throw new FarrierError("E_OP_UNSUPPORTED", `output ${i}, ${quoted(name)}`, { where });
      const value = this.#options.host.simplified(made);
      this.#options.g.name(value, name);
      frame.checks?.check(name, value, where);
      frame.scope.set(name, value);
    });
  }
}

/** The node with the caller's attributes in place of references to them. */
function resolve(node: OnnxNode, { attributes }: Frame): OnnxNode {
  if (![...node.attributes.values()].some((each) => each.type === "ref")) return node;
  const resolved = [...node.attributes].flatMap(([name, each]): [string, OnnxAttribute][] => {
    if (each.type !== "ref") return [[name, each]];
    const value = attributes?.get(each.ref);
    return value === undefined ? [] : [[name, value]];
  });
  return { ...node, attributes: new Map(resolved) };
}

function deeper(depth: number, where: string): number {
  if (depth < deepestCalls) return depth + 1;
  throw new FarrierError("E_GRAPH_DEPTH", `calls nested deeper than ${deepestCalls}`, { where });
}
