/** One integer, one graph: valid by construction, of 1 to 60 operators. */
import { FarrierError } from "../../compiler/errors.js";
import { isFloat } from "../../compiler/ir/dtype.js";
import type { Node } from "../../compiler/ir/graph.js";
import type { FuzzCase, Variant } from "./case.js";
import { Generator } from "./generator.js";
import { motifs } from "./motifs.js";
import { operators } from "./operators.js";

const mostOperators = 60;

/** What a constructor refuses was not valid after all: another operator is drawn. */
function attempt(gen: Generator, make: (gen: Generator) => Node | null): Node | null {
  try {
    return gen.keep(make(gen));
  } catch (error) {
    if (error instanceof FarrierError) return null;
    throw error;
  }
}

function start(gen: Generator): void {
  const { rng } = gen;
  const planted = rng.chance(0.1) && gen.style !== "special";
  if (planted && attempt(gen, rng.weighted(motifs)) !== null) return;
  const shape = rng.shape(
    rng.weighted([
      [1, 0],
      [3, 1],
      [6, 2],
      [5, 3],
      [3, 4],
    ]),
    rng.pick([64, 500, 2000, 4000]),
  );
  if (rng.chance(0.2)) {
    const rows = gen.symbol("n", rng.pick([2, 7, 16, 17, 33]));
    const rest = shape.slice(1).map((dim) => Math.min(dim, 65));
    gen.values.push(gen.leaf(gen.dtype, [rows, ...rest], "any", 0));
    return;
  }
  gen.values.push(gen.leaf(gen.dtype, shape, rng.chance(0.3) ? "positive" : "any", 0.1));
}

/** Values that nothing uses, and now and then one that something does. */
function chooseOutputs(gen: Generator): Node[] {
  const { rng } = gen;
  const used = new Set(gen.values.flatMap((node) => node.inputs));
  const last = gen.values.filter((node) => !used.has(node));
  const chosen = last.slice(-rng.int(1, 4));
  if (rng.chance(0.2)) chosen.push(rng.pick(gen.values));
  if (rng.chance(0.02)) chosen.push(rng.pick(chosen));
  return chosen;
}

export function generate(seed: number): FuzzCase {
  const gen = new Generator(seed);
  start(gen);
  const { rng } = gen;
  const most = gen.style === "special" ? 6 : mostOperators;
  const wanted = 1 + Math.floor((most - 1) * rng.next() ** 2.5);
  const before = gen.values.length;
  for (let tries = 0; gen.values.length - before < wanted && tries < 4 * wanted + 8; tries++)
    attempt(gen, rng.weighted(operators));
  return gen.finish(chooseOutputs(gen));
}

/** Always as users compile, and once more: without fusion, with every rounding, or both. */
export function variantsOf(found: FuzzCase): Variant[] {
  const first: Variant = { strict: false, fuse: true };
  const others: Variant[] = [
    { strict: true, fuse: true },
    { strict: false, fuse: false },
    { strict: true, fuse: true },
    { strict: true, fuse: false },
  ];
  const floats = found.graph.outputs.some(({ node }) => isFloat(node.dtype));
  const other = others[Math.abs(found.seed) % 7];
  return floats && other !== undefined ? [first, other] : [first];
}
