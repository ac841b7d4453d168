/** Memory and warp-wide instructions of the interpreter: ld, st, cp.async, shfl, ldmatrix, mma. */
import { bfloatOf, halfOf } from "./mma-floats.js";
import {
  addressOf,
  isLong,
  lanesOf,
  members,
  reader,
  writer,
  type Context,
  type Scalar,
} from "./mma-interpreter-ops.js";
import type { Copy, Machine, Warp } from "./mma-interpreter.js";

type WarpBody = (machine: Machine, warp: Warp, mask: number) => void;

const bytesOf = (type: string): number => Number(/\d+/.exec(type)![0]) / 8;

function loadElement(view: DataView, at: number, type: string): Scalar {
  switch (type) {
    case "f32":
      return view.getFloat32(at, true);
    case "f64":
      return view.getFloat64(at, true);
    case "b64":
    case "u64":
      return view.getBigUint64(at, true);
    case "s64":
      return view.getBigInt64(at, true);
    case "s32":
      return view.getInt32(at, true);
    case "u32":
    case "b32":
      return view.getUint32(at, true);
    case "s16":
      return view.getInt16(at, true);
    case "u16":
    case "b16":
      return view.getUint16(at, true);
    case "s8":
      return view.getInt8(at);
    case "u8":
    case "b8":
      return view.getUint8(at);
    default:
      throw new Error(`load of ${type}`);
  }
}

function storeElement(view: DataView, at: number, type: string, value: Scalar): void {
  if (type === "f32") view.setFloat32(at, value as number, true);
  else if (type === "f64") view.setFloat64(at, value as number, true);
  else if (isLong(type)) view.setBigUint64(at, BigInt.asUintN(64, value as bigint), true);
  else if (bytesOf(type) === 4) view.setUint32(at, (value as number) >>> 0, true);
  else if (bytesOf(type) === 2) view.setUint16(at, (value as number) & 0xffff, true);
  else view.setUint8(at, (value as number) & 0xff);
}

function sharedAt(machine: Machine, address: number, bytes: number, text: string): number {
  if (address < 0 || address + bytes > machine.sharedBytes)
    throw new Error(
      `shared access out of bounds: ${address} + ${bytes} of ${machine.sharedBytes}: ${text}`,
    );
  if (address % bytes !== 0) throw new Error(`misaligned shared access ${address}: ${text}`);
  return address;
}

/** Counts what the 16-byte accesses of eight lanes, which are one phase, cost beyond one pass. */
function countConflicts(
  machine: Machine,
  addresses: readonly (number | undefined)[],
  text: string,
): void {
  for (let first = 0; first < addresses.length; first += 8) {
    const groups = new Map<number, Set<number>>();
    for (const address of addresses.slice(first, first + 8)) {
      if (address === undefined) continue;
      const group = (address >> 4) & 7;
      groups.set(group, (groups.get(group) ?? new Set()).add(address));
    }
    const extra = Math.max(1, ...[...groups.values()].map((set) => set.size)) - 1;
    machine.report.conflicts += extra;
    if (extra > 0)
      machine.report.conflictSites.set(text, (machine.report.conflictSites.get(text) ?? 0) + extra);
  }
}

function memoryStep(
  parts: readonly string[],
  operands: readonly string[],
  context: Context,
  text: string,
): WarpBody | null {
  const [base, space] = parts as [string, string];
  const type = parts[parts.length - 1]!;
  if (base === "ld" && space === "param") {
    const write = writer(operands[0]!, type, context);
    const name = /^\[\s*([\w$]+)\s*\]$/.exec(operands[1]!)![1]!;
    return (machine, warp, mask) =>
      lanesOf(mask, (lane) => write(warp, lane, machine.params.get(name)!));
  }
  if (base !== "ld" && base !== "st") return null;
  const load = base === "ld";
  const [valueOperand, addressOperand] = load
    ? [operands[0]!, operands[1]!]
    : [operands[1]!, operands[0]!];
  const global = space === "global";
  const address = addressOf(addressOperand, global, context);
  const names = members(valueOperand);
  const size = bytesOf(type);
  const width = size * names.length;
  const writes = load
    ? names.map((name) => writer(name, type === "u8" || type === "s8" ? "u32" : type, context))
    : [];
  const reads = load ? [] : names.map((name) => reader(name, type, context));
  return (machine, warp, mask) => {
    const touched: (number | undefined)[] = [];
    lanesOf(mask, (lane) => {
      const at = address(machine, warp, lane);
      const place = global
        ? machine.memory.at(at as bigint, width, text)
        : { view: machine.shared, offset: sharedAt(machine, at as number, width, text) };
      if (!global && width === 16) touched[lane] = at as number;
      writes.forEach((write, index) =>
        write(warp, lane, loadElement(place.view, place.offset + index * size, type)),
      );
      reads.forEach((read, index) =>
        storeElement(place.view, place.offset + index * size, type, read(machine, warp, lane)),
      );
    });
    countConflicts(machine, touched, text);
  };
}

export function land(machine: Machine, copies: readonly Copy[]): void {
  for (const { to, bytes } of copies) new Uint8Array(machine.shared.buffer).set(bytes, to);
}

function copyStep(
  parts: readonly string[],
  operands: readonly string[],
  context: Context,
  text: string,
): WarpBody {
  if (parts.includes("commit_group"))
    return (_, warp) => {
      warp.groups.push(warp.open);
      warp.open = [];
    };
  if (parts.includes("wait_group") || parts.includes("wait_all")) {
    const keep = parts.includes("wait_all") ? 0 : Number(operands[0]);
    return (machine, warp) => {
      while (warp.groups.length > keep) land(machine, warp.groups.shift()!);
    };
  }
  const to = addressOf(operands[0]!, false, context);
  const from = addressOf(operands[1]!, true, context);
  const bytes = Number(operands[2]);
  const size = operands[3] === undefined ? null : reader(operands[3], "u32", context);
  return (machine, warp, mask) => {
    const touched: (number | undefined)[] = [];
    lanesOf(mask, (lane) => {
      const target = sharedAt(machine, to(machine, warp, lane) as number, bytes, text);
      const valid = size === null ? bytes : (size(machine, warp, lane) as number);
      if (valid < 0 || valid > bytes) throw new Error(`cp.async of ${valid} bytes: ${text}`);
      const data = new Uint8Array(bytes);
      if (valid > 0) {
        const source = from(machine, warp, lane) as bigint;
        if (source % BigInt(bytes) !== 0n) throw new Error(`misaligned cp.async source: ${text}`);
        for (let at = 0; at < valid; at += 2) {
          const { view, offset } = machine.memory.at(source + BigInt(at), 2, text);
          data[at] = view.getUint8(offset);
          data[at + 1] = view.getUint8(offset + 1);
        }
      }
      new Uint8Array(machine.shared.buffer).fill(0xff, target, target + bytes);
      warp.open.push({ to: target, bytes: data });
      touched[lane] = target;
    });
    countConflicts(machine, touched, text);
  };
}

/** A snapshot of one operand over all lanes. */
function gather(read: ReturnType<typeof reader>, machine: Machine, warp: Warp): Scalar[] {
  return Array.from({ length: 32 }, (_, lane) => read(machine, warp, lane));
}

function shuffleStep(
  parts: readonly string[],
  operands: readonly string[],
  context: Context,
): WarpBody {
  const write = writer(operands[0]!.split("|")[0]!, "u32", context);
  const source = reader(operands[1]!, "u32", context);
  const by = reader(operands[2]!, "u32", context);
  return (machine, warp, mask) => {
    const values = gather(source, machine, warp);
    lanesOf(mask, (lane) => {
      const amount = by(machine, warp, lane) as number;
      const from = {
        bfly: lane ^ amount,
        idx: amount & 31,
        up: lane - amount,
        down: lane + amount,
      }[parts[2] as "idx"];
      const inside = from >= 0 && from < 32;
      if (inside && !((mask >> from) & 1)) throw new Error("shuffle from an inactive lane");
      write(warp, lane, values[inside ? from : lane]!);
    });
  };
}

function fullMask(mask: number, text: string): void {
  if (mask >>> 0 !== 0xffffffff) throw new Error(`divergent warp: ${text}`);
}

function ldmatrixStep(
  parts: readonly string[],
  operands: readonly string[],
  context: Context,
  text: string,
): WarpBody {
  const transposed = parts.includes("trans");
  const names = members(operands[0]!);
  const writes = names.map((name) => writer(name, "u32", context));
  const address = addressOf(operands[1]!, false, context);
  return (machine, warp, mask) => {
    fullMask(mask, text);
    const rows = gather(address, machine, warp).map((at) => at as number);
    const values = writes.map((_, matrix) =>
      Array.from({ length: 32 }, (__, lane) => {
        const half = (which: number): number => {
          const [row, column] = transposed
            ? [(lane & 3) * 2 + which, lane >> 2]
            : [lane >> 2, (lane & 3) * 2 + which];
          const at = sharedAt(machine, rows[matrix * 8 + row]!, 16, text);
          return machine.shared.getUint16(at + column * 2, true);
        };
        return ((half(1) << 16) | half(0)) >>> 0;
      }),
    );
    countConflicts(machine, rows.slice(0, names.length * 8), text);
    values.forEach((words, matrix) =>
      words.forEach((word, lane) => writes[matrix]!(warp, lane, word)),
    );
  };
}

function mmaStep(
  parts: readonly string[],
  operands: readonly string[],
  context: Context,
  text: string,
): WarpBody {
  if (!parts.includes("m16n8k16")) throw new Error(`shape of ${text}`);
  const decode = parts.includes("bf16") ? bfloatOf : halfOf;
  const to = members(operands[0]!).map((name) => writer(name, "f32", context));
  const [a, b] = [members(operands[1]!), members(operands[2]!)].map((list) =>
    list.map((name) => reader(name, "u32", context)),
  );
  const c = members(operands[3]!).map((name) => reader(name, "f32", context));
  return (machine, warp, mask) => {
    fullMask(mask, text);
    const left = new Float64Array(256);
    const right = new Float64Array(128);
    for (let lane = 0; lane < 32; lane++) {
      a!.forEach((read, index) => {
        const word = read(machine, warp, lane) as number;
        const at = ((lane >> 2) + (index & 1) * 8) * 16 + (lane & 3) * 2 + (index >> 1) * 8;
        left[at] = decode(word & 0xffff);
        left[at + 1] = decode(word >>> 16);
      });
      b!.forEach((read, index) => {
        const word = read(machine, warp, lane) as number;
        const at = (lane >> 2) * 16 + (lane & 3) * 2 + index * 8;
        right[at] = decode(word & 0xffff);
        right[at + 1] = decode(word >>> 16);
      });
    }
    const start = c.map((read) => gather(read, machine, warp) as number[]);
    for (let lane = 0; lane < 32; lane++)
      for (let index = 0; index < 4; index++) {
        const row = (lane >> 2) + (index >> 1) * 8;
        const column = (lane & 3) * 2 + (index & 1);
        let sum = start[index]![lane]!;
        for (let k = 0; k < 16; k++) sum += left[row * 16 + k]! * right[column * 16 + k]!;
        to[index]!(warp, lane, sum);
      }
  };
}

/** `red.shared.add`: lane after lane, as good as any order. */
function addShared(operands: readonly string[], context: Context, text: string): WarpBody {
  const address = addressOf(operands[0]!, false, context);
  const read = reader(operands[1]!, "u32", context);
  return (machine, warp, mask) =>
    lanesOf(mask, (lane) => {
      const at = sharedAt(machine, address(machine, warp, lane) as number, 4, text);
      const sum = machine.shared.getUint32(at, true) + (read(machine, warp, lane) as number);
      machine.shared.setUint32(at, sum, true);
    });
}

/** Null if the instruction works lane by lane. */
export function matrixStep(
  parts: readonly string[],
  operands: readonly string[],
  context: Context,
  text: string,
): WarpBody | null {
  switch (parts[0]) {
    case "cp":
      return copyStep(parts, operands, context, text);
    case "shfl":
      return shuffleStep(parts, operands, context);
    case "red":
      return addShared(operands, context, text);
    case "ldmatrix":
      return ldmatrixStep(parts, operands, context, text);
    case "mma":
      return mmaStep(parts, operands, context, text);
    default:
      return memoryStep(parts, operands, context, text);
  }
}
