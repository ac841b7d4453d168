/** Sampling of images at computed places, and the movements that go with it. */
import { matmul } from "../../../ir/build-anchor.js";
import {
  broadcastTo,
  cast,
  concat,
  gatherNd,
  literal,
  reshape,
  slice,
  transpose,
  unsqueeze,
} from "../../../ir/build.js";
import type { Node } from "../../../ir/graph.js";
import { printShape } from "../../../ir/shape.js";
import { int, isConst } from "../../../scalar/build.js";
import type { Call } from "../call.js";
import { apply, product, scalarLike, swapLast, widened } from "./common.js";
import { checkPlaces } from "./windows.js";

/** Cut off or filled with zeros on both sides alike; what is odd goes behind. */
export function CenterCropPad(call: Call): Node {
  const { g, attrs } = call;
  const x = call.input(0);
  const rank = x.shape.length;
  const axes = (attrs.ints("axes") ?? x.shape.map((_, i) => i)).map((axis) =>
    call.axis(axis, rank),
  );
  const wanted = call.numbers(call.input(1), "the shape");
  if (wanted.length !== axes.length || wanted.some((size) => size < 0))
    throw call.error("E_SHAPE", `[${wanted.join(", ")}] for ${axes.length} axes`);
  return axes.reduce<Node>((part, axis, i) => {
    const [own, size] = [call.extent(x.shape[axis]!, "an axis"), wanted[i]!];
    const start = Math.floor(Math.abs(size - own) / 2);
    if (size <= own) return slice(g, part, { axis, start, end: start + size });
    const fill = (count: number): Node[] => {
      const shape = part.shape.map((dim, each) => (each === axis ? int(count) : dim));
      return count === 0 ? [] : [broadcastTo(g, scalarLike(g, x, 0), shape)];
    };
    return concat(g, [...fill(start), part, ...fill(size - own - start)], axis);
  }, x);
}

/** Columns [batch, channels · places, windows] summed where their windows overlap. */
export function Col2Im(call: Call): Node {
  const { g, attrs } = call;
  const x = call.input(0);
  const image = call.numbers(call.input(1), "the image's shape");
  const kernel = call.numbers(call.input(2), "the window's shape");
  const ones = image.map(() => 1);
  const strides = attrs.ints("strides") ?? ones;
  const dilations = attrs.ints("dilations") ?? ones;
  const pads = attrs.ints("pads") ?? [...image, ...image].map(() => 0);
  const lengths = [kernel.length, strides.length, dilations.length, pads.length / 2];
  if (x.shape.length !== 3 || lengths.some((length) => length !== image.length))
    throw call.error("E_CONV", `window of ${kernel.length} axes, image of ${image.length}`);
  const reach = kernel.map((extent, i) => (extent - 1) * dilations[i]! + 1);
  const padded = image.map((size, i) => size + pads[i]! + pads[i + image.length]!);
  const counts = padded.map((size, i) => Math.floor((size - reach[i]!) / strides[i]!) + 1);
  const [batch, rows] = [x.shape[0]!, call.extent(x.shape[1]!, "the columns")];
  checkPlaces(call, kernel);
  const places = kernel.reduce((a, b) => a * b, 1);
  const windows = counts.reduce((a, b) => a * b, 1);
  if (rows % places !== 0 || !isConst(x.shape[2]!, windows))
    throw call.error("E_CONV", `${printShape(x.shape)} for ${windows} windows of ${places}`);
  const apart = reshape(g, x, [batch, rows / places, ...kernel, ...counts]);
  const rank = image.length;
  // Axis by axis: places and windows of one axis become that axis of the image.
  return image.reduce<Node>((part, size, i) => {
    const [place, window] = [2 + i, 2 + rank];
    const each = Array.from({ length: kernel[i]! }, (_, k) => {
      const own = slice(g, part, { axis: place, start: k, end: k + 1 });
      const start = k * dilations[i]!;
      return placed(call, own, window, { start, step: strides[i]!, size: padded[i]! });
    });
    const sum = each.reduce((a, b) => apply(g, "add", a, b));
    const first = pads[i]!;
    const cut = slice(g, sum, { axis: window, start: first, end: first + size });
    // The place's own axis has one element left: the finished axis stands there instead.
    const rest = cut.shape.filter((_, axis) => axis !== place);
    const others = rest.map((_, axis) => axis).filter((axis) => axis !== window - 1);
    const order = [...others.slice(0, place), window - 1, ...others.slice(place)];
    return transpose(g, reshape(g, cut, rest), order);
  }, apart);
}

interface Placement {
  readonly start: number;
  readonly step: number;
  readonly size: number;
}

/** The elements of an axis at every `step`-th place from `start` on, zeros elsewhere. */
function placed(call: Call, x: Node, axis: number, { start, step, size }: Placement): Node {
  const { g } = call;
  const count = call.extent(x.shape[axis]!, "the windows");
  // One axis before and one after are enough, whatever the rank.
  const [outer, inner] = [product(x.shape.slice(0, axis)), product(x.shape.slice(axis + 1))];
  const zeros = (many: number): Node =>
    broadcastTo(g, scalarLike(g, x, 0), [outer, int(many), inner]);
  const flat = reshape(g, x, [outer, count, inner]);
  const gaps = reshape(g, zeros(count * (step - 1)), [outer, count, step - 1, inner]);
  const joined = concat(g, [reshape(g, flat, [outer, count, 1, inner]), gaps], 2);
  const spread = step === 1 ? flat : reshape(g, joined, [outer, count * step, inner]);
  const used = Math.min(count * step, size - start);
  const kept = slice(g, spread, { axis: 1, start: 0, end: used });
  const around = [start, size - start - used].map((n) => (n > 0 ? [zeros(n)] : []));
  const whole = concat(g, [...around[0]!, kept, ...around[1]!], 1);
  return reshape(
    g,
    whole,
    x.shape.map((dim, i) => (i === axis ? int(size) : dim)),
  );
}

/** Coordinates from -1 to 1 of an image, moved by a matrix for each of the batch. */
export function AffineGrid(call: Call): Node {
  const { g, attrs } = call;
  const theta = call.input(0);
  const sizes = call.numbers(call.input(1), "the size").slice(2);
  const corners = attrs.flag("align_corners");
  const rank = sizes.length;
  if (theta.shape.length !== 3 || !isConst(theta.shape[1]!, rank))
    throw call.error("E_SHAPE", `${printShape(theta.shape)} for ${rank} spatial axes`);
  const count = sizes.reduce((a, b) => a * b, 1);
  call.listed(count, "points of a grid");
  const values: number[] = [];
  for (let i = 0; i < count; i++) {
    const point: number[] = [];
    sizes.reduceRight((rest, size) => {
      const at = rest % size;
      point.push(corners ? (size === 1 ? 0 : (2 * at) / (size - 1) - 1) : (2 * at + 1) / size - 1);
      return Math.floor(rest / size);
    }, i);
    values.push(...point, 1);
  }
  const points = literal(g, theta.dtype, [count, rank + 1], values);
  const moved = matmul(g, points, swapLast(g, theta));
  return reshape(g, moved, [theta.shape[0]!, ...sizes, rank]);
}

const paddings = ["zeros", "border", "reflection"] as const;

interface Grid {
  readonly sizes: readonly number[];
  readonly padding: (typeof paddings)[number];
  readonly corners: boolean;
}

/** Reflected into [low, high] as often as it takes. */
function reflected({ g }: Call, x: Node, low: number, high: number): Node {
  const number = (value: number): Node => scalarLike(g, x, value);
  if (high <= low) return apply(g, "mul", x, number(0));
  const span = high - low;
  const away = apply(g, "abs", apply(g, "sub", x, number(low)));
  const inside = apply(g, "mod", away, number(2 * span));
  const back = apply(g, "sub", number(2 * span), inside);
  return apply(g, "add", apply(g, "min", inside, back), number(low));
}

/** Elements at whole coordinates [batch, places] of each axis, as [batch, channels, places]. */
function pixels(call: Call, image: Node, at: readonly Node[], grid: Grid): Node {
  const { g } = call;
  const { sizes, padding, corners } = grid;
  let inside: Node | null = null;
  const wide = at.map((x, i) => {
    const [low, high] = [scalarLike(g, x, 0), scalarLike(g, x, sizes[i]! - 1)];
    const bent =
      padding !== "reflection"
        ? x
        : corners
          ? reflected(call, x, 0, sizes[i]! - 1)
          : reflected(call, x, -0.5, sizes[i]! - 0.5);
    if (padding === "zeros") {
      const fits = apply(g, "and", apply(g, "ge", x, low), apply(g, "le", x, high));
      inside = inside === null ? fits : apply(g, "and", inside, fits);
    }
    return cast(g, apply(g, "clip", bent, low, high), "i64");
  });
  const tuples = concat(
    g,
    wide.map((x) => unsqueeze(g, x, [-1])),
    -1,
  );
  // Channels last, so that one tuple names a run of them.
  const order = [0, ...sizes.map((_, i) => i + 2), 1];
  const found = gatherNd(g, transpose(g, image, order), tuples, 1);
  const values = transpose(g, found, [0, 2, 1]);
  if (inside === null) return values;
  return apply(g, "select", unsqueeze(g, inside, [1]), values, scalarLike(g, values, 0));
}

/** Weights of the four neighbours of a place by its distance to the second. */
function cubicWeights({ g }: Call, t: Node): Node[] {
  const a = -0.75;
  const number = (value: number): Node => scalarLike(g, t, value);
  const polynomial = (x: Node, factors: readonly number[]): Node =>
    factors
      .slice(1)
      .reduce(
        (sum, factor) => apply(g, "add", apply(g, "mul", sum, x), number(factor)),
        number(factors[0]!),
      );
  const near = (x: Node): Node => polynomial(x, [a + 2, -(a + 3), 0, 1]);
  const far = (x: Node): Node => polynomial(x, [a, -5 * a, 8 * a, -4 * a]);
  const plus = apply(g, "add", t, number(1));
  const rest = apply(g, "sub", number(1), t);
  return [far(plus), near(t), near(rest), far(apply(g, "add", rest, number(1)))];
}

/** The image at places that a grid of coordinates from -1 to 1 names. */
export function GridSample(call: Call): Node {
  const { g, attrs } = call;
  const [x, given] = [call.input(0), call.input(1)];
  const sizes = x.shape.slice(2).map((dim) => call.extent(dim, "a spatial axis"));
  const rank = sizes.length;
  const modes = ["linear", "nearest", "cubic", "bilinear", "bicubic"] as const;
  const mode = attrs.choice("mode", modes, call.version >= 20 ? "linear" : "bilinear");
  const padding = attrs.choice("padding_mode", paddings, "zeros");
  const corners = attrs.flag("align_corners");
  if (given.shape.length !== rank + 2 || !isConst(given.shape[rank + 1]!, rank))
    throw call.error("E_SHAPE", `grid ${printShape(given.shape)} for ${printShape(x.shape)}`);
  const outer = given.shape.slice(1, -1);
  const grid: Grid = { sizes, padding, corners };
  return widened(g, x, (image) => {
    const points = reshape(g, cast(g, given, image.dtype), [given.shape[0]!, -1, rank]);
    const places = sizes.map((size, i) => {
      const last = rank - 1 - i;
      const part = slice(g, points, { axis: 2, start: last, end: last + 1 });
      return located(
        call,
        reshape(g, part, part.shape.slice(0, 2)),
        size,
        grid,
        mode === "nearest",
      );
    });
    const sampled =
      mode === "nearest"
        ? pixels(call, image, places, grid)
        : blended(call, image, places, grid, mode.endsWith("cubic"));
    return reshape(g, sampled, [x.shape[0]!, x.shape[1]!, ...outer]);
  });
}

/** A coordinate from -1 to 1 in elements, brought inside as the padding says. */
function located(call: Call, n: Node, size: number, grid: Grid, nearest: boolean): Node {
  const { g } = call;
  const { padding, corners } = grid;
  const number = (value: number): Node => scalarLike(g, n, value);
  const scale = corners ? (size - 1) / 2 : size / 2;
  const shift = (size - 1) / 2;
  const raw = apply(g, "add", apply(g, "mul", n, number(scale)), number(shift));
  const x = nearest ? apply(g, "round", raw) : raw;
  if (padding === "border") {
    // Up to the edge of the outermost elements, places are as they are.
    const edge = corners ? 0 : 0.5;
    const [low, high] = [number(-edge), number(size - 1 + edge)];
    const beyond = apply(g, "or", apply(g, "lt", x, low), apply(g, "gt", x, high));
    return apply(g, "select", beyond, apply(g, "clip", x, number(0), number(size - 1)), x);
  }
  if (padding === "zeros") return x;
  return corners ? reflected(call, x, 0, size - 1) : reflected(call, x, -0.5, size - 0.5);
}

/** The weighted sum over the neighbours along every axis. */
function blended(
  call: Call,
  image: Node,
  places: readonly Node[],
  grid: Grid,
  cubic: boolean,
): Node {
  const { g } = call;
  const number = (like: Node, value: number): Node => scalarLike(g, like, value);
  const sides = places.map((place) => {
    const floor = apply(g, "floor", place);
    const t = apply(g, "sub", place, floor);
    const weights = cubic ? cubicWeights(call, t) : [apply(g, "sub", number(t, 1), t), t];
    const first = cubic ? -1 : 0;
    return weights.map((weight, i) => ({
      weight,
      at: apply(g, "add", floor, number(floor, first + i)),
    }));
  });
  const corners = sides.reduce<{ readonly weight: Node | null; readonly at: readonly Node[] }[]>(
    (found, side) =>
      found.flatMap(({ weight, at }) =>
        side.map((one) => ({
          weight: weight === null ? one.weight : apply(g, "mul", weight, one.weight),
          at: [...at, one.at],
        })),
      ),
    [{ weight: null, at: [] }],
  );
  return corners
    .map(({ weight, at }) =>
      apply(g, "mul", pixels(call, image, at, grid), unsqueeze(g, weight!, [1])),
    )
    .reduce((a, b) => apply(g, "add", a, b));
}

/** The determinant of each matrix, by minors along the rows: small matrices only. */
export function Det(call: Call): Node {
  const x = call.input(0);
  const size = call.extent(x.shape.at(-1) ?? int(0), "a matrix");
  if (x.shape.length < 2 || x.shape.at(-1) !== x.shape.at(-2) || size < 1)
    throw call.error("E_SHAPE", `${printShape(x.shape)} is no square matrix`);
  if (size > largestDeterminant)
    throw call.unsupported(`a determinant of more than ${largestDeterminant} rows`);
  return widened(call.g, x, (wide) => {
    const { g } = call;
    const element = (row: number, column: number): Node => {
      const last = wide.shape.length - 1;
      const line = slice(g, wide, { axis: last - 1, start: row, end: row + 1 });
      return reshape(
        g,
        slice(g, line, { axis: last, start: column, end: column + 1 }),
        wide.shape.slice(0, -2),
      );
    };
    // Of the last rows and each set of as many columns.
    const minors = new Map<number, Node>();
    const minor = (columns: number): Node => {
      const known = minors.get(columns);
      if (known !== undefined) return known;
      const list = Array.from({ length: size }, (_, i) => i).filter(
        (i) => (columns >> i) % 2 === 1,
      );
      const row = size - list.length;
      const terms = list.map((column, i) => {
        const rest = columns & ~(1 << column);
        const term =
          rest === 0 ? element(row, column) : apply(g, "mul", element(row, column), minor(rest));
        return i % 2 === 0 ? term : apply(g, "neg", term);
      });
      const sum = terms.reduce((a, b) => apply(g, "add", a, b));
      minors.set(columns, sum);
      return sum;
    };
    return minor(2 ** size - 1);
  });
}

const largestDeterminant = 6;
