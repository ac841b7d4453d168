/**
 * Prints expressions as C statements into blocks. A block is the body of a loop (or the function):
 * it binds coordinates and params to names. Every value is computed in the outermost block where all
 * it depends on is bound, so that nothing is recomputed by an inner loop; loads and checks that only
 * one arm of a select needs stay inside that arm.
 */
import { bug } from "../../errors.js";
import type { DType } from "../../ir/dtype.js";
import { statusOperand, type Operand, type Store } from "../../kernel/desc.js";
import { isOp, type Expr } from "../../scalar/expr.js";
import { legalise } from "../../scalar/legalise.js";
import { polynomialOf, toExpr, type Monomial } from "../../scalar/polynomial.js";
import { leavesOf, someComputed, visitComputed } from "../affine.js";
import { HostScalars, isHostExpr } from "../scalars.js";
import { fusedIfFast, spell } from "./expr.js";
import { cType, convert, literal, readElement, writeElement } from "./types.js";

/**
 * f32 operations that are one instruction (or two) wherever it matters; the rest becomes
 * polynomials, which vectorise where calls of libm would not.
 */
const native: ReadonlySet<string> = new Set([
  "fma",
  "floor",
  "ceil",
  "round",
  "trunc",
  "mod",
  "rsqrt",
  "rsqrt.f64",
  // By libm.
  ...["exp.f64", "exp2.f64", "log.f64", "log2.f64", "tanh.f64", "pow.f64"],
]);

/** A C scope under construction. */
export class Block {
  readonly lines: string[] = [];
  /** What coordinates and params are called here. */
  readonly bound = new Map<Expr, string>();
  readonly names = new Map<Expr, string>();

  /** `arm`: the body of an `if`, in which values that only it needs are computed. */
  constructor(
    readonly parent: Block | null,
    readonly arm: boolean,
  ) {}

  get depth(): number {
    let depth = 0;
    for (let block = this.parent; block !== null; block = block.parent) depth++;
    return depth;
  }

  /** The first answer of `look`, from this block outwards. */
  find<T>(look: (block: Block) => T | undefined): T | undefined {
    return look(this) ?? this.parent?.find(look);
  }
}

export type Binding = readonly [leaf: Expr, name: string];

export class CEmitter {
  readonly scalars = new HostScalars();
  /** The function's own scope: operands, scalars, and what depends on neither coordinate nor param. */
  readonly root = new Block(null, false);
  readonly #operands: ReadonlyMap<string, Operand & { readonly index: number }>;
  /** Evaluated whether or not any select takes the arm it is in. */
  readonly #always = new Set<Expr>();
  /** Selects among them whose arms may not run. */
  readonly #choices = new Set<Expr>();
  readonly #effects = new Map<Expr, boolean>();
  readonly #legalised = new Map<Expr, Expr>();
  /** Of a model's own fma, which rounds once everywhere; polynomials do with what is fast. */
  readonly #exactFma = new Set<Expr>();
  #next = 0;

  constructor(operands: readonly Operand[]) {
    this.#operands = new Map(
      operands.map((operand, index) => [operand.name, { ...operand, index }]),
    );
  }

  /** A scope inside `parent`. A literal coordinate (extent 1) needs no binding and is skipped. */
  block(parent: Block, bindings: readonly Binding[]): Block {
    const block = new Block(parent, false);
    for (const [leaf, name] of bindings)
      if (isOp(leaf, "coord") || isOp(leaf, "param")) block.bound.set(leaf, name);
    return block;
  }

  /** The name of an operand's pointer. */
  pointer(operand: string): string {
    return `b${this.operand(operand).index}`;
  }

  operand(name: string): Operand & { readonly index: number } {
    const operand = this.#operands.get(name);
    if (operand === undefined)
      throw bug(`a kernel's body names operand ${name}, which the kernel lacks`);
    return operand;
  }

  /** Declarations of pointers and scalars: the head of the function, once everything is printed. */
  head(): string[] {
    const pointers = [...this.#operands.values()].map(({ name, dtype, access, index }) => {
      if (name === statusOperand) return `int64_t* const status = (int64_t*)buffers[${index}];`;
      const type = `${access === "read" ? "const " : ""}${cType(dtype).storage}*`;
      return `${type} const b${index} = (${type})buffers[${index}]; /* ${comment(name)} */`;
    });
    const scalars = this.scalars
      .list()
      .map((_, slot) => `const int64_t s${slot} = scalars[${slot}];`);
    return [...pointers, ...scalars, ...this.root.lines];
  }

  /** Says that `roots` are evaluated in any case: what they need may leave arms and inner loops. */
  mark(roots: readonly Expr[]): void {
    const stack = this.#legal(roots);
    do {
      for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
        if (this.#always.has(node) || isOp(node, "coord")) continue;
        this.#always.add(node);
        if (isOp(node, "select")) this.#choices.add(node);
        stack.push(...(isOp(node, "select") ? node.args.slice(0, 1) : node.args));
      }
      // What arms read may be read in any case by something else: then they need no branch.
      for (const choice of this.#choices) {
        const arms = choice.args.slice(1);
        if (arms.some((arm) => this.#mayNotRun(arm))) continue;
        this.#choices.delete(choice);
        stack.push(...arms);
      }
    } while (stack.length > 0);
  }

  /** True if `root` reads or checks what nothing else is known to. */
  #mayNotRun(root: Expr): boolean {
    const stack = [root];
    const seen = new Set<Expr>();
    for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
      if (seen.has(node) || this.#always.has(node) || !this.#hasEffect(node)) continue;
      if (isOp(node, "load") || isOp(node, "check")) return true;
      seen.add(node);
      stack.push(...node.args);
    }
    return false;
  }

  /** Prints the statements that compute `node` for `block`; answers its name or literal. */
  value(node: Expr, block: Block): string {
    return this.#value(this.#legal([node])[0]!, block);
  }

  #legal(roots: readonly Expr[]): Expr[] {
    return roots.map((root) => {
      const known = this.#legalised.get(root);
      if (known !== undefined) return known;
      const legal = legalise([root], native)[0]!;
      this.#legalised.set(root, legal);
      if (someComputed(root, (node) => isOp(node, "fma")))
        visitComputed([legal], (node) => void (isOp(node, "fma") && this.#exactFma.add(node)));
      return legal;
    });
  }

  #value(node: Expr, block: Block): string {
    if (isOp(node, "const")) return literal(node.type, node.attr.value);
    if (isOp(node, "coord") || isOp(node, "param")) {
      const name = block.find((at) => at.bound.get(node));
      if (name === undefined)
        throw bug(`${node.op} ${node.attr.name} has no value where a kernel's body uses it`);
      return name;
    }
    if (node.type === "i64" && isHostExpr(node)) return `s${this.scalars.slot(node)}`;
    const known = block.find((at) => at.names.get(node));
    if (known !== undefined) return known;
    if (isOp(node, "sym"))
      throw bug(`device symbol ${node.attr.name} is used as a value: load it from memory`);
    if (isOp(node, "select")) return this.#select(node, block);
    const home = this.#home(node, block);
    if (node.type === "i64" && (isOp(node, "add") || isOp(node, "mul")))
      return this.#index(node, block, home);
    const args = node.args.map((arg) => this.#value(arg, block));
    if (isOp(node, "load")) {
      const { dtype } = this.operand(node.attr.buffer);
      const element = readElement(dtype, this.pointer(node.attr.buffer), args[0]!);
      return this.define(node, home, element);
    }
    const approximate = isOp(node, "fma") && node.type === "f32" && !this.#exactFma.has(node);
    return this.define(node, home, approximate ? fusedIfFast(args) : spell(node, args));
  }

  /** Declares a constant of `node`'s type in `home`. */
  define(node: Expr, home: Block, text: string): string {
    const name = this.fresh();
    home.lines.push(`const ${cType(node.type).value} ${name} = ${text};`);
    home.names.set(node, name);
    return name;
  }

  fresh(): string {
    return `v${this.#next++}`;
  }

  /** Prints stores: first every unguarded value, so that an element may be replaced in place. */
  stores(stores: readonly Store[], block: Block): void {
    const plain = stores.filter(({ guard }) => guard === null);
    this.mark(plain.flatMap(({ value, offset }) => [value, offset]));
    this.mark(stores.flatMap(({ guard }) => (guard === null ? [] : [guard])));
    const statements = plain.map((store) => this.#store(store, block));
    for (const store of stores) {
      if (store.guard === null) continue;
      const guard = this.value(store.guard, block);
      const arm = new Block(block, true);
      arm.lines.push(this.#store(store, arm));
      statements.push(`if (${guard}) {`, ...arm.lines.map((line) => `  ${line}`), "}");
    }
    block.lines.push(...statements);
  }

  #store({ operand, offset, value }: Store, block: Block): string {
    const { dtype } = this.operand(operand);
    const source = unrounded(value, dtype);
    const stored = storedForm(this.value(source, block), source.type, dtype);
    return writeElement(dtype, this.pointer(operand), this.value(offset, block), stored);
  }

  /** Where `node` is computed: as far out as its leaves allow, but inside the arm if it may not run. */
  #home(node: Expr, block: Block): Block {
    if (!this.#always.has(node) && this.#hasEffect(node)) {
      const arm = block.find((at) => (at.arm ? at : undefined));
      if (arm !== undefined) return block;
    }
    return this.#outermost(leavesOf(node), block);
  }

  #outermost(leaves: readonly Expr[], block: Block): Block {
    let home = this.root;
    for (const leaf of leaves) {
      const at = block.find((candidate) => (candidate.bound.has(leaf) ? candidate : undefined));
      if (at !== undefined && at.depth > home.depth) home = at;
    }
    return home;
  }

  #hasEffect(root: Expr): boolean {
    const known = this.#effects.get(root);
    if (known !== undefined) return known;
    const effect =
      isOp(root, "load") ||
      isOp(root, "check") ||
      (!isOp(root, "coord") && root.args.some((arg) => this.#hasEffect(arg)));
    this.#effects.set(root, effect);
    return effect;
  }

  #select(node: Expr, block: Block): string {
    const [condition, a, b] = node.args as [Expr, Expr, Expr];
    const lazy = [a, b].some(
      (arm) => this.#hasEffect(arm) && !this.#always.has(arm) && !this.#known(arm, block),
    );
    const home = this.#home(node, block);
    if (!lazy) {
      const args = [condition, a, b].map((arg) => this.#value(arg, block));
      return this.define(node, home, spell(node, args));
    }
    const test = this.#value(condition, home);
    const name = this.fresh();
    const arms = [a, b].map((arm) => {
      const scope = new Block(home, true);
      const value = this.#value(arm, scope);
      return [...scope.lines, `${name} = ${value};`].map((line) => `  ${line}`);
    });
    home.lines.push(
      `${cType(node.type).value} ${name};`,
      `if (${test}) {`,
      ...arms[0]!,
      "} else {",
      ...arms[1]!,
      "}",
    );
    home.names.set(node, name);
    return name;
  }

  #known(node: Expr, block: Block): boolean {
    return block.find((at) => at.names.get(node)) !== undefined;
  }

  /** A sum of products: what changes rarely is added up in outer blocks, the rest term by term. */
  #index(node: Expr, block: Block, home: Block): string {
    const monomials = polynomialOf(node);
    // A product too large to be expanded is its own only atom.
    if (monomials.some(({ atoms }) => atoms.includes(node)))
      return this.define(
        node,
        home,
        spell(
          node,
          node.args.map((arg) => this.#value(arg, block)),
        ),
      );
    const depths = monomials.map(
      ({ atoms }) => this.#outermost(atoms.flatMap(leavesOf), block).depth,
    );
    const deepest = Math.max(...depths);
    const outer = monomials.filter((_, index) => depths[index]! < deepest);
    const terms = monomials
      .filter((_, index) => depths[index] === deepest)
      .map((monomial) => this.#product(node, monomial, deepest, block));
    if (outer.length > 0) terms.unshift(this.#value(this.#part(node, outer), block));
    // A single term of a single factor is `node` itself only when it needs no statement.
    return this.define(node, home, terms.join(" + "));
  }

  /** A part of the polynomial `node`: where that is always evaluated, this is too. */
  #part(node: Expr, monomials: readonly Monomial[]): Expr {
    const part = toExpr(monomials);
    if (this.#always.has(node)) this.mark([part]);
    return part;
  }

  #product(node: Expr, { atoms, coefficient }: Monomial, depth: number, block: Block): string {
    const inner = atoms.filter(
      (atom) => !isHostExpr(atom) && this.#outermost(leavesOf(atom), block).depth === depth,
    );
    const rest = atoms.filter((atom) => !inner.includes(atom));
    // The host's product, unless the host refuses: then it is multiplied here, factor by factor.
    if (inner.length === 0 && !isHostExpr(toExpr([{ atoms, coefficient }])))
      return [...atoms.map((atom) => this.#value(atom, block)), literal("i64", coefficient)].join(
        " * ",
      );
    const names = inner.map((atom) => this.#value(atom, block));
    const factor =
      rest.length === 0
        ? literal("i64", coefficient)
        : this.#value(this.#part(node, [{ atoms: rest, coefficient }]), block);
    const unit = rest.length === 0 && coefficient === 1 && names.length > 0;
    return (unit ? names : [...names, factor]).join(" * ");
  }
}

/** A store to 16 bits rounds by itself: a cast to the same type before it would round twice. */
function unrounded(value: Expr, dtype: DType): Expr {
  if (!isOp(value, "cast") || (dtype !== "f16" && dtype !== "bf16")) return value;
  const [source] = value.args as [Expr];
  return value.type === dtype && source.type === "f32" ? source : value;
}

function storedForm(text: string, from: DType, to: DType): string {
  if (to !== "f16" && to !== "bf16") return convert(text, from, to);
  return from === "f32" ? text : convert(text, from, to);
}

const comment = (name: string): string =>
  name.replaceAll("*/", "* /").replaceAll(/[^\x20-\x7e]/g, "?");
