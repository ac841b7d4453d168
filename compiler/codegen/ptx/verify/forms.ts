/**
 * The allowed instructions: each spelling with its operands and the PTX version and architecture that
 * it needs. What is not here is refused. The emitter's spellings are in `../instructions.ts`.
 *
 * Patterns: `{a|b}` is a choice, `<a|b>` a choice that operands may name `T`. Operands: `=` is
 * written, `~` read and written, `$` a register only, `#` a literal only, `>` a register that may be wider, `?` may be
 * left out, `*4` a vector; `[g]` an address in global memory, `[s]` shared, `[p]` a parameter, with `=`
 * where it is written, `~` read and written, `c` read through the read-only cache.
 */
import { bits, isScalarType, type ScalarType } from "./types.js";

export type Space = "global" | "shared" | "param";

export interface AddressSlot {
  readonly kind: "address";
  readonly space: Space;
  readonly mode: "read" | "constant" | "write" | "readwrite";
  readonly optional: boolean;
}

export interface ValueSlot {
  readonly kind: "value";
  readonly type: ScalarType;
  readonly written: boolean;
  /** Read too, where it is written. */
  readonly kept: boolean;
  readonly literals: "allowed" | "none" | "only";
  /** The register may be wider than the type. */
  readonly relaxed: boolean;
  /** 0: a single register. */
  readonly lanes: number;
  readonly optional: boolean;
}

export type Slot =
  | AddressSlot
  | ValueSlot
  | { readonly kind: "label"; readonly optional: boolean }
  /** A special register or the address of a symbol. */
  | { readonly kind: "source"; readonly optional: boolean };

/** What an instruction does besides arithmetic. */
export type Role = "plain" | "branch" | "exit" | "trap" | "barrier" | "warp" | "group" | "wait";

export interface Form {
  readonly opcode: string;
  /** The first part of the opcode, and its last type. */
  readonly name: string;
  readonly type: ScalarType;
  readonly slots: readonly Slot[];
  /** Fewest operands. */
  readonly required: number;
  /** Bytes of a memory access; 0: its third operand says. */
  readonly bytes: number;
  readonly role: Role;
  readonly since: Gate;
}

/** The lowest PTX version, as major * 100 + minor, and the lowest architecture. */
export interface Gate {
  readonly version: number;
  readonly architecture: number;
  /** Only that architecture has it, under the name that ends in `a`. */
  readonly only?: boolean;
}

const oldest: Gate = { version: 600, architecture: 50 };
const volta: Gate = { version: 600, architecture: 70 };
const ampere: Gate = { version: 700, architecture: 80 };
const hopper: Gate = { version: 708, architecture: 90 };
const hopperOnly: Gate = { version: 800, architecture: 90, only: true };

const forms = new Map<string, Form[]>();

/** The rows of an opcode; undefined: it is not allowed. */
export const formsOf = (opcode: string): readonly Form[] | undefined => forms.get(opcode);
export const allowedOpcodes = (): string[] => [...forms.keys()];

interface Extra {
  readonly role?: Role;
  readonly since?: Gate;
  readonly bytes?: number;
}

/** All spellings of a pattern, each with its `T`. */
function spellings(pattern: string): { opcode: string; choice: string }[] {
  let found = [{ opcode: "", choice: "" }];
  for (const [, open, inner, plain] of pattern.matchAll(/([{<])([^}>]*)[}>]|([^{<]+)/g)) {
    const choices = plain === undefined ? inner!.split("|") : [plain];
    found = found.flatMap(({ opcode, choice }) =>
      choices.map((part) => ({
        opcode: opcode + part,
        choice: open === "<" ? part : choice,
      })),
    );
  }
  return found;
}

const modes: Readonly<Record<string, AddressSlot["mode"]>> = {
  "": "read",
  c: "constant",
  "=": "write",
  "~": "readwrite",
};
const spaces: Readonly<Record<string, Space>> = { g: "global", s: "shared", p: "param" };

function slotOf(token: string, choice: string): Slot {
  const optional = token.startsWith("?");
  const source = optional ? token.slice(1) : token;
  if (source === "label" || source === "source") return { kind: source, optional };
  const address = /^\[([gsp])([c=~]?)\]$/.exec(source);
  if (address !== null) {
    const [, space, mode] = address;
    return { kind: "address", space: spaces[space!]!, mode: modes[mode!]!, optional };
  }
  const [, written, literals, relaxed, type, lanes] = /^([=~]?)([$#]?)(>?)(\w+?)(?:\*(\d+))?$/.exec(
    source,
  )!;
  const name = type === "T" ? choice : type!;
  if (!isScalarType(name)) throw new TypeError(`${token} of ${choice}`);
  return {
    kind: "value",
    type: name,
    written: written !== "",
    kept: written === "~",
    literals:
      written !== "" || literals === "$" || lanes !== undefined
        ? "none"
        : literals === "#"
          ? "only"
          : "allowed",
    relaxed: relaxed === ">",
    lanes: Number(lanes ?? 0),
    optional,
  };
}

/** Adds a row for each spelling of `pattern`. */
export function allow(pattern: string, operands: string, extra: Extra = {}): void {
  for (const { opcode, choice } of spellings(pattern)) {
    const tokens = operands === "" ? [] : operands.split(" ");
    const slots = tokens.map((token) => slotOf(token, choice));
    const parts = opcode.split(".");
    const last = parts.findLast(isScalarType) ?? "b32";
    const form: Form = {
      opcode,
      name: parts[0]!,
      type: last,
      slots,
      required: slots.filter((slot) => !slot.optional).length,
      bytes: extra.bytes ?? Math.max(1, bits[last] / 8),
      role: extra.role ?? "plain",
      since: extra.since ?? oldest,
    };
    forms.set(opcode, [...(forms.get(opcode) ?? []), form]);
  }
}

function integerForms(): void {
  const any = "<s32|u32|s64|u64>";
  allow(`{add|sub|min|max|div|rem}.${any}`, "=T T T");
  allow("mul.lo.<s32|u32|s64|u64>", "=T T T");
  allow("mul.hi.<s32|u32|s64|u64>", "=T T T");
  allow("mul.wide.<s32>", "=s64 T T");
  allow("mul.wide.<u32>", "=u64 T T");
  allow(`mad.lo.${any}`, "=T T T T");
  allow("mad.wide.<s32>", "=s64 T T s64");
  allow("mad.wide.<u32>", "=u64 T T u64");
  allow("{neg|abs}.<s32|s64>", "=T T");
  allow("{and|or|xor}.<pred>", "=T $T $T");
  allow("{and|or|xor}.<b16|b32|b64>", "=T T T");
  allow("not.<pred>", "=T $T");
  allow("not.<b16|b32|b64>", "=T T");
  allow("shl.<b16|b32|b64>", "=T T u32");
  allow("shr.<s32|u32|s64|u64|b32|b64>", "=T T u32");
  allow("shf.{l|r}.{wrap|clamp}.<b32>", "=T T T u32");
  allow("lop3.<b32>", "=T T T T #u32");
  allow("prmt.<b32>", "=T T T u32");
  allow("bfe.<s32|u32>", "=T T u32 u32");
  allow("{popc|clz}.<b32|b64>", "=u32 T");
}

function floatForms(): void {
  allow("{add|sub|mul|div}.rn.<f32|f64>", "=T T T");
  allow("fma.rn.<f32|f64>", "=T T T T");
  allow("{min|max}.<f32|f64>", "=T T T");
  allow("{min|max}.NaN.<f32>", "=T T T", { since: ampere });
  allow("{neg|abs}.<f32|f64>", "=T T");
  allow("{sqrt|rcp}.rn.<f32|f64>", "=T T");
  allow("{ex2|lg2|rsqrt|rcp|sqrt|sin|cos}.approx{|.ftz}.<f32>", "=T T");
  allow("div.{approx|full}{|.ftz}.<f32>", "=T T T");
  allow("tanh.approx.<f32>", "=T T", { since: { version: 700, architecture: 75 } });
  allow("{add|sub|mul}.rn.<f16x2>", "=b32 b32 b32", {
    since: { version: 600, architecture: 53 },
  });
  allow("fma.rn.<f16x2>", "=b32 b32 b32 b32", { since: { version: 600, architecture: 53 } });
  allow("fma.rn.<bf16x2>", "=b32 b32 b32 b32", { since: ampere });
}

function compareForms(): void {
  allow("setp.{eq|ne|lt|le|gt|ge}.<s32|u32|s64|u64>", "=pred T T");
  allow("setp.{eq|ne}.<b16|b32|b64>", "=pred T T");
  allow("setp.{eq|ne|lt|le|gt|ge|equ|neu|ltu|leu|gtu|geu|num|nan}.<f32|f64>", "=pred T T");
  allow("selp.<b16|b32|b64|s32|u32|f32|f64>", "=T T T $pred");
}

function moveForms(): void {
  allow("mov.<pred>", "=T $T");
  allow("mov.<b16|b32|b64|s32|u32|s64|u64|f32|f64>", "=T T");
  allow("mov.<u32|u64>", "=T source");
  allow("mov.<b32>", "=b16*2 $T");
  allow("mov.<b32>", "=T b16*2");
  allow("mov.<b64>", "=b32*2 $T");
  allow("mov.<b64>", "=T b32*2");
}

function convertForms(): void {
  const integer = ["s32", "u32", "s64", "u64"];
  for (const from of integer) {
    allow(`cvt.<${integer.filter((to) => to !== from).join("|")}>.${from}`, `=T ${from}`);
    allow(`cvt.rn.<f32|f64>.${from}`, `=T ${from}`);
  }
  // Narrow integers live in 32-bit registers.
  allow("cvt.{s32|u32}.<s8|u8|s16|u16>", "=b32 $>T");
  allow("cvt.sat.<s8|s16>.s32", "=>T s32");
  allow("cvt.sat.<u8|u16>.u32", "=>T u32");
  allow("cvt.{rzi|rni|rmi|rpi}.<s32|u32|s64|u64>.f32", "=T f32");
  allow("cvt.{rzi|rni|rmi|rpi}.<s32|u32|s64|u64>.f64", "=T f64");
  allow("cvt.{rzi|rni|rmi|rpi}.f32.f32", "=f32 f32");
  allow("cvt.{rzi|rni|rmi|rpi}.f64.f64", "=f64 f64");
  allow("cvt.f64.f32", "=f64 f32");
  allow("cvt.rn.f32.f64", "=f32 f64");
  allow("cvt.f32.f16", "=f32 $b16");
  allow("cvt.rn.f16.f32", "=b16 f32");
  allow("cvt.rn.f16.f64", "=b16 f64");
  allow("cvt.rn.bf16.f32", "=b16 f32", { since: ampere });
  allow("cvt.rn.{f16x2|bf16x2}.f32", "=b32 f32 f32", { since: ampere });
  allow("cvt.f32.bf16", "=f32 $b16", { since: hopper });
}

const scalars = ["b8", "u8", "s8", "b16", "u16", "s16", "b32", "u32", "s32"];
const wide = ["b64", "u64", "s64", "f32", "f64"];

function memoryForms(): void {
  allow("ld.param.<u32|s32|b32|u64|s64|b64>", "=T [p]");
  for (const type of [...scalars, ...wide] as ScalarType[]) {
    const relaxed = bits[type] < 32 && type !== "b16" ? ">" : "";
    for (const lanes of [1, 2, 4]) {
      const bytes = (lanes * bits[type]) / 8;
      if (bytes > 16) continue;
      const [suffix, vector] = lanes === 1 ? ["", ""] : [`.v${lanes}`, `*${lanes}`];
      const extra = { bytes };
      allow(`ld.global${suffix}.${type}`, `=${relaxed}${type}${vector} [g]`, extra);
      allow(`ld.global.nc${suffix}.${type}`, `=${relaxed}${type}${vector} [gc]`, extra);
      allow(`ld.shared${suffix}.${type}`, `=${relaxed}${type}${vector} [s]`, extra);
      allow(`st.global${suffix}.${type}`, `[g=] $${relaxed}${type}${vector}`, extra);
      allow(`st.shared${suffix}.${type}`, `[s=] $${relaxed}${type}${vector}`, extra);
    }
  }
  allow("ld.{acquire|relaxed}.gpu.global.<u32|b32|u64|b64>", "=T [g]", { since: volta });
  allow("st.{release|relaxed}.gpu.global.<u32|b32|u64|b64>", "[g=] $T", { since: volta });
  allow("atom.global{|.acq_rel.gpu|.relaxed.gpu}.{add|min|max}.<u32|s32|u64>", "=T [g~] T");
  allow("atom.global{|.acq_rel.gpu|.relaxed.gpu}.exch.<b32|b64>", "=T [g~] T");
  allow("atom.global{|.acq_rel.gpu|.relaxed.gpu}.cas.<b32|b64>", "=T [g~] T T");
  allow("red.shared.{add|min|max}.<u32|s32>", "[s~] T");
  allow("red.global{|.release.gpu|.relaxed.gpu}.{add|min|max}.<u32|s32|u64>", "[g~] T");
  allow("red.global{|.relaxed.gpu}.add.<f32>", "[g~] $T");
  allow("cvta.to.global.u64", "=u64 $u64");
  allow("cp.async.ca.shared.global", "[s=] [g] #u32 ?u32", { since: ampere, bytes: 0 });
  allow("cp.async.cg.shared.global", "[s=] [g] #u32 ?u32", { since: ampere, bytes: 0 });
  allow("cp.async.commit_group", "", { since: ampere });
  allow("cp.async.wait_group", "#u32", { since: ampere });
  allow("cp.async.wait_all", "", { since: ampere });
}

function controlForms(): void {
  allow("bra{|.uni}", "label", { role: "branch" });
  allow("{ret|exit}", "", { role: "exit" });
  allow("trap", "", { role: "trap" });
  allow("bar.sync", "#u32 ?#u32", { role: "barrier" });
  allow("barrier.sync{|.aligned}", "#u32 ?#u32", { role: "barrier" });
  allow("bar.arrive", "#u32 #u32", { role: "barrier" });
  allow("bar.warp.sync", "u32", { role: "warp" });
  allow("membar.{cta|gl}", "");
  allow("fence.{acq_rel|sc}.{cta|gpu|sys}", "", { since: volta });
  allow("griddepcontrol.wait", "", { role: "wait", since: hopper });
  allow("griddepcontrol.launch_dependents", "", { since: hopper });
}

function warpForms(): void {
  const warp: Extra = { role: "warp" };
  allow("shfl.sync.{bfly|idx|up|down}.<b32>", "=T T u32 u32 u32", warp);
  allow("vote.sync.{any|all|uni}.pred", "=pred $pred u32", warp);
  allow("vote.sync.ballot.b32", "=b32 $pred u32", warp);
  allow("activemask.b32", "=b32", { since: { version: 602, architecture: 50 } });
  allow("redux.sync.{add|min|max}.<s32|u32>", "=T T u32", { role: "warp", since: ampere });
  const matrix: Extra = { role: "warp", since: { version: 605, architecture: 75 }, bytes: 16 };
  for (const count of [1, 2, 4])
    allow(`ldmatrix.sync.aligned.m8n8.x${count}{|.trans}.shared.b16`, `=b32*${count} [s]`, matrix);
  const product: Extra = { role: "warp", since: ampere };
  const m16n8 = "mma.sync.aligned.m16n8";
  allow(`${m16n8}k16.row.col.f32.{f16.f16|bf16.bf16}.f32`, "=f32*4 b32*4 b32*2 f32*4", product);
  allow(`${m16n8}k8.row.col.f32.bf16.bf16.f32`, "=f32*4 b32*2 b32*1 f32*4", product);
  allow(`${m16n8}k8.row.col.f32.f16.f16.f32`, "=f32*4 b32*2 b32*1 f32*4", product);
  allow(`${m16n8}k8.row.col.f32.tf32.tf32.f32`, "=f32*4 b32*4 b32*2 f32*4", product);
  allow(`${m16n8}k32.row.col.s32.s8.s8.s32`, "=s32*4 b32*4 b32*2 s32*4", product);
}

/** Barriers in shared memory, on which copies arrive too. */
function mbarrierForms(): void {
  allow("mbarrier.init.shared.<b64>", "[s=] u32", { since: ampere });
  allow("mbarrier.arrive.shared.<b64>", "=T [s~]", { since: ampere });
  allow("mbarrier.try_wait.parity.shared.<b64>", "=pred [s] u32", { since: hopper });
  allow("cp.async.mbarrier.arrive.noinc.shared.<b64>", "[s~]", { since: ampere });
}

/** What a warpgroup does together. */
function groupForms(): void {
  const group: Extra = { role: "group", since: hopperOnly };
  allow("setmaxnreg.{inc|dec}.sync.aligned.u32", "#u32", group);
  allow("wgmma.{fence|commit_group}.sync.aligned", "", group);
  allow("wgmma.wait_group.sync.aligned", "#u32", group);
  allow("fence.proxy.async{|.shared::cta}", "", { since: { version: 800, architecture: 90 } });
  for (let columns = 8; columns <= 256; columns += 8)
    allow(
      `wgmma.mma_async.sync.aligned.m64n${columns}k16.f32.{f16.f16|bf16.bf16}`,
      // Sums, two descriptors, whether there are sums to add to, signs, transpositions.
      `~f32*${columns / 2} $b64 $b64 $pred #s32 #s32 #s32 #s32`,
      group,
    );
}

for (const fill of [integerForms, floatForms, compareForms, moveForms, convertForms]) fill();
for (const fill of [memoryForms, controlForms, warpForms, mbarrierForms, groupForms]) fill();
