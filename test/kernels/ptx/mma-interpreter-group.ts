/**
 * Instructions of sm_90 in the interpreter: barriers in shared memory and products of warpgroups. As
 * hostile as the hardware may be: copies land, and arrive, when all warps have run as far as they can;
 * a product's operands are compared when it ends with what they were when it began, its sums are NaN
 * until it is waited for, and what the generic proxy wrote is only seen behind a proxy fence.
 */
import { bfloatOf, halfOf } from "./mma-floats.js";
import {
  addressOf,
  lanesOf,
  members,
  reader,
  writer,
  type Context,
} from "./mma-interpreter-ops.js";
import { land } from "./mma-interpreter-tensor.js";
import type { Machine, Warp } from "./mma-interpreter.js";

type WarpBody = (machine: Machine, warp: Warp, mask: number) => void;

/** A barrier in shared memory. */
export interface SharedBarrier {
  readonly count: number;
  pending: number;
  /** Completed phases. */
  phase: number;
}

/** A product that has begun. */
interface Product {
  readonly check: () => void;
}

/** What a warp knows of its warpgroup's products. */
export interface GroupState {
  /** Begun, by committed group; the last is open. */
  groups: Product[][];
  open: Product[];
  /** Sums by register: in the registers themselves they are NaN. */
  readonly sums: Map<string, { readonly values: Float64Array; readonly write: () => void }>;
  fenced: boolean;
  /** A proxy fence stands behind the last wait. */
  proxied: boolean;
}

export const newGroupState = (): GroupState => ({
  groups: [],
  open: [],
  sums: new Map(),
  fenced: false,
  proxied: true,
});

function barrierAt(machine: Machine, at: number, text: string): SharedBarrier {
  const found = machine.barriers.get(at);
  if (found === undefined) throw new Error(`no barrier at ${at}: ${text}`);
  return found;
}

function arriveAt(machine: Machine, at: number, text: string): void {
  const barrier = barrierAt(machine, at, text);
  machine.events++;
  barrier.pending--;
  if (barrier.pending > 0) return;
  barrier.phase++;
  barrier.pending = barrier.count;
}

function barrierStep(
  parts: readonly string[],
  operands: readonly string[],
  context: Context,
  text: string,
): WarpBody {
  const place = operands.find((operand) => operand.startsWith("["))!;
  const address = addressOf(place, false, context);
  const at = (machine: Machine, warp: Warp, lane: number): number =>
    address(machine, warp, lane) as number;
  if (parts[1] === "init") {
    const count = reader(operands[1]!, "u32", context);
    return (machine, warp, mask) =>
      lanesOf(mask, (lane) => {
        const expected = count(machine, warp, lane) as number;
        machine.barriers.set(at(machine, warp, lane), {
          count: expected,
          pending: expected,
          phase: 0,
        });
      });
  }
  if (parts[1] === "arrive")
    return (machine, warp, mask) =>
      lanesOf(mask, (lane) => arriveAt(machine, at(machine, warp, lane), text));
  const write = writer(operands[0]!, "pred", context);
  const parity = reader(operands[2]!, "u32", context);
  return (machine, warp, mask) =>
    lanesOf(mask, (lane) => {
      const { phase } = barrierAt(machine, at(machine, warp, lane), text);
      const done = (phase & 1) !== (parity(machine, warp, lane) as number);
      write(warp, lane, done ? 1 : 0);
      if (done) warp.group.proxied = false;
      else warp.polling = true;
    });
}

function copiesArrive(operands: readonly string[], context: Context, text: string): WarpBody {
  const address = addressOf(operands[0]!, false, context);
  return (machine, warp, mask) => {
    const copies = warp.open;
    warp.open = [];
    const places: number[] = [];
    lanesOf(mask, (lane) => places.push(address(machine, warp, lane) as number));
    machine.later.push(() => {
      land(machine, copies);
      for (const at of places) arriveAt(machine, at, text);
    });
  };
}

const rowBytes = 128;

/** The 16 elements of depth of `rows` rows that a descriptor points at. */
function readMatrix(
  machine: Machine,
  word: bigint,
  first: number,
  rows: number,
  text: string,
): Uint16Array {
  const start = Number(word & 0x3fffn) * 16;
  if (word >> 32n !== 0x40000040n) throw new Error(`descriptor ${word.toString(16)}: ${text}`);
  if ((start & 1023) >= rowBytes) throw new Error(`rows begin within a swizzle: ${start}: ${text}`);
  const values = new Uint16Array(rows * 16);
  for (let row = 0; row < rows; row++)
    for (let k = 0; k < 16; k++) {
      const linear = start + (first + row) * rowBytes + k * 2;
      const at = linear ^ (((linear >> 7) & 7) << 4);
      if (at + 2 > machine.sharedBytes) throw new Error(`a matrix beyond shared memory: ${text}`);
      values[row * 16 + k] = machine.shared.getUint16(at, true);
    }
  return values;
}

function productStep(
  parts: readonly string[],
  operands: readonly string[],
  context: Context,
  text: string,
): WarpBody {
  const decode = parts.includes("bf16") ? bfloatOf : halfOf;
  const names = members(operands[0]!);
  const [writes, reads] = [
    names.map((name) => writer(name, "f32", context)),
    names.map((name) => reader(name, "f32", context)),
  ];
  const [a, b] = [operands[1]!, operands[2]!].map((name) => reader(name, "b64", context));
  const adds = reader(operands[3]!, "pred", context);
  const columns = names.length * 2;
  if (!parts.includes(`m64n${columns}k16`)) throw new Error(`sums of ${text.slice(0, 60)}`);
  if (operands.slice(4).join() !== "1,1,0,0") throw new Error(`signs of ${text.slice(-40)}`);
  return (machine, warp, mask) => {
    const { group } = warp;
    if (mask >>> 0 !== 0xffffffff) throw new Error("a divergent warp multiplies");
    if (!group.fenced) throw new Error("a product without wgmma.fence");
    if (!group.proxied) throw new Error("a product of what no proxy fence made visible");
    const words = [a!, b!].map((read) => {
      const word = read(machine, warp, 0) as bigint;
      lanesOf(mask, (lane) => {
        if (read(machine, warp, lane) !== word) throw new Error("descriptors differ in a warp");
      });
      return word;
    });
    const operand = (): Uint16Array[] => [
      readMatrix(machine, words[0]!, (warp.index % 4) * 16, 16, text),
      readMatrix(machine, words[1]!, 0, columns, text),
    ];
    const begun = operand();
    const [left, right] = begun.map((values) => Float64Array.from(values, decode));
    const accumulate = adds(machine, warp, 0) === 1;
    names.forEach((name, index) => {
      const known = group.sums.get(name)?.values;
      const values = new Float64Array(32);
      lanesOf(mask, (lane) => {
        const row = (lane >> 2) + ((index >> 1) & 1) * 8;
        const column = (index >> 2) * 8 + (lane & 3) * 2 + (index & 1);
        const before = known?.[lane] ?? (reads[index]!(machine, warp, lane) as number);
        let sum = accumulate ? before : 0;
        for (let k = 0; k < 16; k++) sum += left![row * 16 + k]! * right![column * 16 + k]!;
        values[lane] = Math.fround(sum);
        writes[index]!(warp, lane, NaN);
      });
      const write = (): void => lanesOf(mask, (lane) => writes[index]!(warp, lane, values[lane]!));
      group.sums.set(name, { values, write });
    });
    group.open.push({
      check: () => {
        const same = operand().every((values, i) => values.every((x, at) => x === begun[i]![at]));
        if (!same)
          throw new Error(`operands changed before their product was done: ${text.slice(-60)}`);
      },
    });
  };
}

function groupStep(
  parts: readonly string[],
  operands: readonly string[],
  context: Context,
  text: string,
): WarpBody {
  switch (parts[1]) {
    case "fence":
      return (_, { group }) => (group.fenced = true);
    case "commit_group":
      return (_, { group }) => {
        group.groups.push(group.open);
        group.open = [];
      };
    case "wait_group":
      return (_, { group }) => {
        while (group.groups.length > Number(operands[0]))
          for (const product of group.groups.shift()!) product.check();
        if (group.groups.length > 0) return;
        for (const { write } of group.sums.values()) write();
        group.sums.clear();
        group.fenced = false;
      };
    default:
      return productStep(parts, operands, context, text);
  }
}

/** Null if the instruction is none of sm_90's. */
export function hopperStep(
  parts: readonly string[],
  operands: readonly string[],
  context: Context,
  text: string,
): WarpBody | null {
  if (parts[0] === "mbarrier") return barrierStep(parts, operands, context, text);
  if (parts[0] === "cp" && parts[2] === "mbarrier") return copiesArrive(operands, context, text);
  if (parts[0] === "wgmma") return groupStep(parts, operands, context, text);
  if (parts[0] === "setmaxnreg") return () => undefined;
  if (parts[0] === "fence" && parts[1] === "proxy") return (_, { group }) => (group.proxied = true);
  return null;
}
