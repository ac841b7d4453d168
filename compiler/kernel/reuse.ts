/**
 * Kernels of equal structure are lowered once: where an anchor, what it computes and what it reads
 * are as in an earlier kernel, that one's description serves, with other tensors.
 */
import { attrsKey, type Node } from "../ir/graph.js";
import type { LoweringContext } from "./lowering.js";
import { sourceOf } from "./lowering.js";
import type { Buffer, PackedWeight, PlannedKernel } from "./memory.js";
import { typeKey, type Structures } from "./structure.js";

/** Where a kernel's tensor is found again: numbers of nodes in the order of a walk. */
type Role =
  | { readonly kind: "stored"; readonly node: number }
  | { readonly kind: "source"; readonly node: number }
  | { readonly kind: "weight"; readonly node: number; readonly packed: PackedWeight | null }
  | { readonly kind: "status" };

interface Lowered {
  readonly kernels: readonly PlannedKernel[];
  readonly roles: readonly (readonly Role[])[];
  /** Nodes whose run-time checks stand in the kernels: each check has a number of its own. */
  readonly checked: ReadonlyMap<Node, number>;
}

interface Walk {
  readonly key: string;
  readonly nodes: readonly Node[];
}

type Lower = (context: LoweringContext) => readonly PlannedKernel[];

export class Reuse {
  readonly #lowered = new Map<string, Lowered>();

  constructor(readonly structures: Structures) {}

  /** The kernels of `anchor` that leave `exits` in memory: made by `lower`, or as they were before. */
  kernels(
    context: LoweringContext,
    anchor: Node,
    exits: readonly Node[],
    lower: Lower,
  ): readonly PlannedKernel[] {
    const walk = this.#walk(context, anchor, exits);
    const label = exits.map((exit) => context.nameOf(exit)).join(" + ");
    const known = this.#lowered.get(walk.key);
    if (known !== undefined && sameChecks(known, walk.nodes))
      return placed(context, known, walk.nodes, label);
    const numbers = new Map(walk.nodes.map((node, number) => [node, number]));
    const checked = new Map<Node, number>();
    const site = (node: Node): number => {
      checked.set(node, numbers.get(node) ?? -1);
      return context.site(node);
    };
    const kernels = lower({ ...context, site });
    const roles = rolesOf(context, kernels, walk.nodes, numbers);
    if (roles !== null && kernels.every(({ desc }) => desc.label === label))
      this.#lowered.set(walk.key, { kernels, roles, checked });
    return kernels;
  }

  /** All that lowering looks at, from what is written down to what is in memory. */
  #walk(context: LoweringContext, anchor: Node, exits: readonly Node[]): Walk {
    const { memory, analysis, materialised } = context;
    const region = materialised.regions.get(anchor) ?? new Set<Node>();
    const computed = new Set<Node>([anchor, ...exits, ...region]);
    const numbers = new Map<Node, number>();
    const nodes: Node[] = [];
    const buffers = new Map<Buffer, number>();
    const parts: string[] = [];
    const add = (node: Node): number => {
      const known = numbers.get(node);
      if (known !== undefined) return known;
      numbers.set(node, nodes.length);
      return nodes.push(node) - 1;
    };
    const place = (node: Node): string => {
      const buffer = memory.of(node);
      if (buffer === undefined) return "";
      if (!buffers.has(buffer)) buffers.set(buffer, buffers.size);
      const shape = buffer.shape.map(({ id }) => id).join();
      return `@${buffer.place}${buffers.get(buffer)!}${buffer.dtype}[${shape}]`;
    };
    const weight = (node: Node): string => {
      const { key, nodes: parts } = this.structures.of(node);
      return `w${key}(${parts.map(add).join()})`;
    };
    const visit = (node: Node): string => {
      if (analysis.isWeight(node)) return weight(node);
      const own = `${place(node)}${region.has(node) ? "r" : ""}`;
      const stored = memory.of(node) !== undefined && !computed.has(node);
      if (stored || node.inputs.length === 0)
        return `${own}${typeKey(node)}${stored ? "" : `${node.op}${attrsKey(node.attrs)}`}`;
      const inputs = node.inputs.map(add);
      return `${node.op}${own}${typeKey(node)}(${inputs.join()})${attrsKey(node.attrs)}`;
    };
    const roots = [...exits, anchor, ...[...region].sort((a, b) => a.id - b.id)].map(add);
    // Parts of a weight are told by it: they are numbered, and no more.
    const told = new Set<Node>();
    for (let at = 0; at < nodes.length; at++) {
      const node = nodes[at]!;
      if (told.has(node)) continue;
      if (analysis.isWeight(node))
        for (const part of this.structures.of(node).nodes) told.add(part);
      parts.push(`${at}:${visit(node)}`);
    }
    return { key: `${roots.join()};${exits.length};${parts.join(";")}`, nodes };
  }
}

const sameChecks = ({ checked }: Lowered, nodes: readonly Node[]): boolean =>
  [...checked].every(([node, number]) => nodes[number] === node);

/** How to find each tensor of the kernels from the nodes of a walk; null where one is not among them. */
function rolesOf(
  { memory }: LoweringContext,
  kernels: readonly PlannedKernel[],
  nodes: readonly Node[],
  numbers: ReadonlyMap<Node, number>,
): Role[][] | null {
  const stored = new Map<Buffer, number>();
  for (const [number, node] of nodes.entries()) {
    const buffer = memory.of(node);
    if (buffer !== undefined && !stored.has(buffer)) stored.set(buffer, number);
  }
  const roleOf = (buffer: Buffer): Role | null => {
    if (buffer.place === "status") return { kind: "status" };
    if (buffer.place === "weight") {
      const derived = memory.derived.get(buffer.id);
      const node = derived === undefined ? undefined : numbers.get(derived.node);
      return node === undefined ? null : { kind: "weight", node, packed: derived!.packed };
    }
    const kind = buffer.place === "source" ? "source" : "stored";
    const node = kind === "source" ? numbers.get(buffer.node!) : stored.get(buffer);
    return node === undefined ? null : { kind, node };
  };
  const roles = kernels.map(({ buffers, symbols }) =>
    symbols === undefined ? buffers.map(roleOf) : [null],
  );
  return roles.some((each) => each.includes(null)) ? null : (roles as Role[][]);
}

function placed(
  context: LoweringContext,
  { kernels, roles }: Lowered,
  nodes: readonly Node[],
  label: string,
): PlannedKernel[] {
  const { memory } = context;
  const bufferOf = (role: Role): Buffer => {
    if (role.kind === "status") return memory.status();
    const node = nodes[role.node]!;
    if (role.kind === "stored") return memory.of(node)!;
    if (role.kind === "source") return sourceOf(context, node);
    return memory.weight(node, context.nameOf(node), role.packed);
  };
  return kernels.map(({ desc }, i) => ({
    desc,
    label,
    buffers: roles[i]!.map(bufferOf),
  }));
}
