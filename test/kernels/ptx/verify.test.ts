/**
 * The static verifier: every kernel passes, every opcode that the emitter spells is allowed, and what
 * `ptxas` refuses of the mutants the verifier refuses too. See `docs/ptx-verifier.md`.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import {
  binaryInstruction,
  convertInstruction,
  halfInstruction,
  narrowInstruction,
  ptx,
  unaryInstruction,
} from "../../../compiler/codegen/ptx/instructions.js";
import {
  allowedOpcodes,
  formsOf,
  type Form,
  type Slot,
} from "../../../compiler/codegen/ptx/verify/forms.js";
import { launchOptions } from "../../../compiler/codegen/ptx/verify/kernel.js";
import { bits } from "../../../compiler/codegen/ptx/verify/types.js";
import {
  checks,
  problemText,
  verifyPtx,
  type PtxParam,
  type VerifyOptions,
} from "../../../compiler/codegen/ptx/verify/verify.js";
import { lower } from "../../../compiler/compile.js";
import { targetNamed, type Target } from "../../../compiler/kernel/target.js";
import { packageRoot } from "../../../compiler/version.js";
import type { GpuCase } from "../../gpu/cases/case.js";
import { allCases, fewBlocks, hopperCases } from "../../gpu/cases/registry.js";
import { fixture } from "../../support.js";

interface Kernel {
  readonly name: string;
  readonly text: string;
  readonly options: VerifyOptions;
}

const target = targetNamed("sm_80");
const kernels: Kernel[] = [];
const texts = new Set<string>();
function add(test: GpuCase, on: Target): void {
  const kernel = test.kernel(on);
  if (texts.has(kernel.text)) return;
  texts.add(kernel.text);
  const options = { ...launchOptions(test.desc, kernel, on), proof: true };
  kernels.push({ name: test.name, text: kernel.text, options });
}
for (const test of allCases()) add(test, target);
for (const test of hopperCases()) add(test, fewBlocks);

const assembler = "ptxas";
const present = spawnSync(assembler, ["--version"]).status === 0;
const folder = mkdtempSync(join(tmpdir(), "farrier-verify-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What ptxas says about a text, or null if it takes it. */
function assemble(text: string, architecture: string): string | null {
  const file = join(folder, "kernel.ptx");
  writeFileSync(file, text);
  const args = [`-arch=${architecture}`, "-O0", "-o", join(folder, "kernel.cubin"), file];
  const { status, stderr } = spawnSync(assembler, args, { encoding: "utf8" });
  return status === 0 ? null : stderr;
}

describe("every kernel", () => {
  it("of the cases passes", () => {
    const problems = kernels.flatMap(({ name, text, options }) =>
      verifyPtx(text, options).map((problem) => `${name}: ${problemText(problem)}`),
    );
    expect(problems).toEqual([]);
    expect(kernels.length).toBeGreaterThan(500);
  });

  it("is verified in less than 10 ms", () => {
    const times = kernels.map(({ text, options }) => {
      const start = performance.now();
      verifyPtx(text, options);
      return performance.now() - start;
    });
    times.sort((a, b) => a - b);
    expect(times[times.length >> 1]).toBeLessThan(10);
  });

  // Rendering a kernel verifies it: this fails with E_INTERNAL otherwise.
  it.each(["bert", "gpt2", "llama", "mixtral", "qwen3", "deepseek_v2", "deepseek_v3"])(
    "of %s passes as it is rendered",
    async (name) => {
      const target = ["sm_80", "sm_90", "sm_90a"];
      const lowered = await lower(fixture(name, "hf"), { dtype: "bf16", target });
      const [plain, dependent, hopper] = lowered.targets.map(({ files }) => [...files.values()]);
      expect(plain!.length).toBeGreaterThan(4);
      expect(plain!.join("")).not.toContain("griddepcontrol");
      // Products have tiles of their weights on the way before they wait.
      const waits = dependent!.map((text) => text.split("griddepcontrol.wait"));
      expect(waits.every(({ length }) => length === 2)).toBe(true);
      expect(hopper!.every((text) => text.split("griddepcontrol.wait").length === 2)).toBe(true);
      expect(hopper!.filter((text) => text.includes("wgmma")).length).toBeGreaterThan(1);
      expect(waits.filter(([before]) => before!.includes("cp.async")).length).toBeGreaterThan(3);
    },
  );
});

describe("the table of instructions", () => {
  const spelled = [
    ...Object.values(binaryInstruction),
    ...Object.values(unaryInstruction),
    ...Object.values(convertInstruction),
    ...Object.values(narrowInstruction),
    ...Object.values(halfInstruction),
    ptx.fma,
    ptx.mad,
    ptx.madWide,
  ].flatMap((table) => Object.values(table as Record<string, string>));

  it("has every opcode of the emitter's tables", () => {
    expect(spelled.length).toBeGreaterThan(100);
    expect(spelled.filter((opcode) => formsOf(opcode) === undefined)).toEqual([]);
  });

  const prefixOf = { pred: "%p", f32: "%f", f64: "%g" } as const;
  const registerOf = (type: keyof typeof bits, index: number): string => {
    const prefix = type in prefixOf ? prefixOf[type as keyof typeof prefixOf] : undefined;
    return `${prefix ?? { 16: "%h", 32: "%r", 64: "%d" }[bits[type]]}${index}`;
  };
  const operandOf = (form: Form, slot: Slot, index: number): string => {
    if (slot.kind === "label") return "DONE";
    if (slot.kind === "source") return form.type === "u64" ? "memory" : "%tid.x";
    if (slot.kind === "address")
      return { global: "[%d30]", shared: "[%r30]", param: "[param_0]" }[slot.space];
    const type = slot.relaxed ? "b32" : slot.type;
    if (slot.literals === "only")
      return form.bytes === 0
        ? "16"
        : form.name === "setmaxnreg" || (form.role === "barrier" && index > 0)
          ? "32"
          : "1";
    if (slot.lanes === 0) return registerOf(type, index);
    return `{${Array.from({ length: slot.lanes }, (_, i) => registerOf(type, 4 * index + i)).join(", ")}}`;
  };
  const module = (version: string, architecture: string, lines: readonly string[]): string =>
    [
      `.version ${version}`,
      `.target ${architecture}`,
      ".address_size 64",
      ".extern .shared .align 16 .b8 memory[];",
      ".visible .entry kernel(.param .u64 param_0) {",
      ".reg .b32 %r<32>; .reg .b64 %d<32>; .reg .f32 %f<128>; .reg .f64 %g<32>;",
      ".reg .b16 %h<32>; .reg .pred %p<32>;",
      ...lines,
      "DONE:",
      "ret;",
      "}",
    ].join("\n");

  it.skipIf(!present)("has what ptxas takes, at the version and architecture that it names", () => {
    const groups = new Map<string, string[]>();
    for (const opcode of allowedOpcodes())
      for (const form of formsOf(opcode)!) {
        // The oldest that a ptxas of today has.
        const version = Math.max(form.since.version, 603);
        const { architecture: lowest, only = false } = form.since;
        const architecture = `sm_${Math.max(lowest, 75)}${only ? "a" : ""}`;
        const key = `${Math.floor(version / 100)}.${version % 100} ${architecture}`;
        const operands = form.slots.map((slot, index) => operandOf(form, slot, index));
        groups.set(key, [...(groups.get(key) ?? []), `${opcode} ${operands.join(", ")};`]);
      }
    for (const [key, lines] of groups) {
      const [version, architecture] = key.split(" ") as [string, string];
      expect(assemble(module(version, architecture, lines), architecture)).toBeNull();
    }
  });
});

/** A kernel spoiled in one way. */
interface Mutation {
  readonly name: string;
  readonly code: keyof typeof checks;
  /** What becomes of a kernel, or null where it has nothing of the kind. */
  readonly apply: (kernel: Kernel) => Kernel | null;
  /** ptxas takes it: only the verifier finds it. */
  readonly silent?: boolean;
}

type Replace = string | ((...groups: string[]) => string);

/** Replaces the first match; all, where the pattern is global. */
const text =
  (pattern: RegExp, replacement: Replace) =>
  (kernel: Kernel): Kernel | null => {
    const changed = kernel.text.replace(pattern, replacement as string);
    return changed === kernel.text ? null : { ...kernel, text: changed };
  };

const launch =
  (change: (options: VerifyOptions) => Partial<VerifyOptions> | null) =>
  (kernel: Kernel): Kernel | null => {
    const changed = change(kernel.options);
    return changed === null ? null : { ...kernel, options: { ...kernel.options, ...changed } };
  };

const line = (body: string): RegExp => new RegExp(`^ *${body}$`, "m");

/** A predicate that differs from lane to lane, right before a line that matches. */
const beforeLine =
  (pattern: RegExp, wrap: (line: string, predicate: string) => string) =>
  (kernel: Kernel): Kernel | null => {
    const predicates = /\.reg \.pred %p<(\d+)>;/.exec(kernel.text)?.[1];
    const thread = /mov\.u32 (%r\d+), %tid\.x;/.exec(kernel.text)?.[1];
    const found = pattern.exec(kernel.text)?.[0];
    if (predicates === undefined || thread === undefined || found === undefined) return null;
    const fresh = `%p${predicates}`;
    const compare = `setp.lt.s32 ${fresh}, ${thread}, 5;`;
    const changed = kernel.text
      .replace(`%p<${predicates}>`, `%p<${Number(predicates) + 1}>`)
      .replace(found, `${compare}\n${wrap(found, fresh)}`);
    return { ...kernel, text: changed };
  };

const barrier = line("bar\\.sync 0;");
const exchange = line("shfl\\.sync.*;");

/** A predicate of the thread `$t` in `$p`, and a branch by it over the products of a stage. */
const beforeProducts =
  (compare: string) =>
  (kernel: Kernel): Kernel | null => {
    const predicates = /\.reg \.pred %p<(\d+)>;/.exec(kernel.text)?.[1];
    const thread = /mov\.u32 (%r\d+), %tid\.x;/.exec(kernel.text)?.[1];
    if (predicates === undefined || thread === undefined || !kernel.text.includes("wgmma.fence"))
      return null;
    const fresh = `%p${predicates}`;
    const made = compare.replace("$p", fresh).replace("$t", thread);
    const changed = kernel.text
      .replace(`%p<${predicates}>`, `%p<${Number(predicates) + 1}>`)
      .replace(/ *wgmma\.fence/, `${made}\n@${fresh} bra SKIPPED;\n$&`)
      .replace(/wgmma\.commit_group\S*;/, "$&\nSKIPPED:");
    return { ...kernel, text: changed };
  };

const mutations: Mutation[] = [
  // Grammar and header.
  { name: "a missing semicolon", code: "GRAMMAR", apply: text(/, (%r\d+);/, ", $1") },
  { name: "a missing brace", code: "GRAMMAR", apply: text(/\}\s*$/, "") },
  { name: "text after the end", code: "GRAMMAR", apply: text(/\}\s*$/, "}\nret;\n") },
  { name: "a malformed literal", code: "GRAMMAR", apply: text(/0f[0-9A-F]{8}/, "0f123") },
  {
    name: "a function",
    code: "GRAMMAR",
    apply: text(/\.visible \.entry/, ".visible .func"),
  },
  {
    name: "local memory",
    code: "GRAMMAR",
    apply: text(line("ret;"), ".local .b8 stack[16];\nret;"),
    silent: true,
  },
  {
    name: "a later version",
    code: "MODULE",
    apply: text(/\.version 7\.0/, ".version 8.0"),
    silent: true,
  },
  { name: "another target", code: "MODULE", apply: text(/\.target sm_80/, ".target sm_90") },
  {
    name: "32-bit addresses",
    code: "MODULE",
    apply: text(/\.address_size 64/, ".address_size 32"),
  },
  {
    name: "no limit of threads",
    code: "MODULE",
    apply: text(/\.maxntid.*\n(?:\.minn.*\n)?/, ""),
    silent: true,
  },
  {
    name: "more threads than compiled for",
    code: "MODULE",
    apply: launch(({ threads }) => ({ threads: threads * 2 })),
    silent: true,
  },
  // Declarations.
  { name: "too few registers", code: "DECLARE", apply: text(/%r<\d+>/, "%r<3>") },
  { name: "a class of registers gone", code: "DECLARE", apply: text(/\.reg \.b64 %d<\d+>;/, "") },
  {
    name: "a class of registers twice",
    code: "DECLARE",
    apply: text(/(\.reg \.b64 %d<\d+>;)/, "$1 $1"),
  },
  { name: "a label gone", code: "DECLARE", apply: text(/(bra (\w+);[^]*?\n *)\2:/, "$1") },
  {
    name: "a label twice",
    code: "DECLARE",
    apply: text(/^(DONE|STEP|LOOP|TILES):$/m, "$1:\n$1:"),
  },
  { name: "shared memory not declared", code: "DECLARE", apply: text(/\.extern .*\n/, "") },
  {
    name: "a parameter that is not there",
    code: "DECLARE",
    apply: text(/\[param_0\]/, "[param_99]"),
  },
  // Opcodes and gates.
  { name: "an unknown opcode", code: "OPCODE", apply: text(/fma\.rn\.f32/, "fmad.rn.f32") },
  {
    name: "a rounding that there is not",
    code: "OPCODE",
    apply: text(/add\.rn\.f32/, "add.rq.f32"),
  },
  { name: "a type that there is not", code: "OPCODE", apply: text(/mul\.lo\.s32/, "mul.lo.f32") },
  {
    name: "contraction left to ptxas",
    code: "OPCODE",
    apply: text(/add\.rn\.f32/, "add.f32"),
    silent: true,
  },
  { name: "a call", code: "OPCODE", apply: text(line("ret;"), "call other;\nret;") },
  {
    name: "a vector beyond 16 bytes",
    code: "OPCODE",
    apply: text(/\.v4\.(?:f32|b32)/, ".v4.b64"),
  },
  {
    name: "cp.async before its version",
    code: "ARCH",
    apply: text(/\.version 7\.0(?=[\s\S]*cp\.async)/, ".version 6.5"),
  },
  {
    name: "mma before its version",
    code: "ARCH",
    apply: text(/\.version 7\.0(?=[\s\S]*mma\.sync)/, ".version 6.5"),
  },
  {
    name: "bf16 before its architecture",
    code: "ARCH",
    apply: text(/\.target sm_80(?=[\s\S]*cvt\.rn\.bf16)/, ".target sm_75"),
  },
  {
    name: "an instruction of sm_90",
    code: "ARCH",
    apply: (kernel) =>
      kernel.options.target.name === "sm_80"
        ? text(line("ret;"), "griddepcontrol.wait;\nret;")(kernel)
        : null,
  },
  // Operands and types.
  { name: "an operand missing", code: "OPERANDS", apply: text(/(mad\.lo\.s32 .*), \S+;/, "$1;") },
  { name: "an operand too many", code: "OPERANDS", apply: text(/(add\.s32 .*);/, "$1, 0;") },
  {
    name: "a literal as destination",
    code: "OPERANDS",
    apply: text(/add\.s32 %r\d+/, "add.s32 7"),
  },
  {
    name: "a predicate for a number",
    code: "TYPE",
    apply: text(/add\.s32 (%r\d+), %r\d+/, "add.s32 $1, %p0"),
  },
  { name: "integer registers for floats", code: "TYPE", apply: text(/\.reg \.f32/, ".reg .s32") },
  { name: "float registers for integers", code: "TYPE", apply: text(/\.reg \.b32/, ".reg .f32") },
  { name: "registers twice as wide", code: "TYPE", apply: text(/\.reg \.b32/, ".reg .b64") },
  {
    name: "a wide sum of narrow registers",
    code: "TYPE",
    apply: text(/(mad\.wide\.s32 %d\d+, .*, )%d\d+;/, "$1%r0;"),
  },
  {
    name: "an integer literal for a float",
    code: "TYPE",
    apply: text(/(mov\.f32 %f\d+), 0f\w+/, "$1, 1"),
  },
  {
    name: "a float literal for an integer",
    code: "TYPE",
    apply: text(/(add\.s32 %r\d+, %r\d+), \d+/, "$1, 0f3F800000"),
  },
  {
    name: "a literal beyond 32 bits",
    code: "TYPE",
    apply: text(/(add\.s32 %r\d+, %r\d+), \d+/, "$1, 4294967296"),
    silent: true,
  },
  {
    name: "a 32-bit global address",
    code: "TYPE",
    apply: text(/(ld\.global\S* .*\[)%d\d+/, "$1%r0"),
  },
  { name: "a wrong vector width", code: "VECTOR", apply: text(/(ld\.\S*)\.v4(\S* \{)/, "$1.v2$2") },
  {
    name: "a vector of three",
    code: "VECTOR",
    apply: text(/(\.v4\S* .*\{%\w+, %\w+, %\w+), %\w+/, "$1"),
  },
  {
    name: "a destination twice in a vector",
    code: "VECTOR",
    apply: text(/(ld\.\S*\.v[24]\S* \{(%\w+)), %\w+/, "$1, $2"),
    silent: true,
  },
  {
    name: "a fragment too short",
    code: "VECTOR",
    apply: text(/(mma\.sync\S* \{[^}]*\}, \{%\w+, %\w+), %\w+, %\w+/, "$1"),
  },
  { name: "a number as guard", code: "GUARD", apply: text(/@!?%p\d+/, "@%r0") },
  {
    name: "a guard on what the warp does",
    code: "GUARD",
    apply: text(/( +)(mma\.sync)/, "$1@%p0 $2"),
    silent: true,
  },
  {
    name: "a copy of a size that there is not",
    code: "OPERANDS",
    apply: text(/(cp\.async\.cg\S* .*\], )16/, (_, head) => `${head}8`),
  },
  // Parameters.
  {
    name: "an argument too few",
    code: "PARAM",
    apply: launch(({ params }) => ({ params: params.slice(0, -1) })),
    silent: true,
  },
  {
    name: "a parameter of four bytes",
    code: "PARAM",
    apply: text(/\.param \.u64 param_0/, ".param .u32 param_0"),
    silent: true,
  },
  {
    name: "a load beyond a parameter",
    code: "PARAM",
    apply: text(/\[param_0\]/, "[param_0+8]"),
    silent: true,
  },
  {
    name: "half of an address",
    code: "PARAM",
    apply: text(
      /ld\.param\.u64 (%d\d+), \[param_0\];/,
      "ld.param.u32 %r0, [param_0]; cvt.u64.u32 $1, %r0;",
    ),
    silent: true,
  },
  {
    name: "a misaligned load of a parameter",
    code: "ALIGN",
    apply: text(/ld\.param\.u32 (%r\d+), \[(param_\d)\]/, "ld.param.u32 $1, [$2+2]"),
    silent: true,
  },
  // Control flow.
  { name: "no end", code: "FALL", apply: text(line("ret;"), ""), silent: true },
  {
    name: "an end that some threads miss",
    code: "FALL",
    apply: text(line("ret;"), "@%p0 ret;"),
    silent: true,
  },
  {
    name: "a loop without an exit",
    code: "ENDLESS",
    apply: text(line("ret;"), "FOREVER:\nbra FOREVER;"),
    silent: true,
  },
  {
    name: "an end at the beginning",
    code: "UNREACHABLE",
    apply: text(/(mov\.u32 %r\d+, %ctaid\.x;)/, "ret;\n$1"),
    silent: true,
  },
  {
    name: "a branch without its predicate",
    code: "UNREACHABLE",
    apply: text(/@%p\d+ bra DONE;/, "bra DONE;"),
    silent: true,
  },
  // Definition before use.
  {
    name: "a definition gone",
    code: "UNDEFINED",
    apply: text(line("mov\\.u32 %r\\d+, %ctaid\\.x;"), ""),
    silent: true,
  },
  {
    name: "an address gone",
    code: "UNDEFINED",
    apply: text(line("cvta\\.to\\.global.*;"), ""),
    silent: true,
  },
  {
    name: "a predicate gone",
    code: "UNDEFINED",
    apply: (kernel) => {
      const guard = /@!?(%p\d+) /.exec(kernel.text)?.[1];
      return guard === undefined ? null : text(line(`\\S+ ${guard}, .*;`), "")(kernel);
    },
    silent: true,
  },
  {
    name: "a definition under a guard",
    code: "UNDEFINED",
    apply: text(/( +)(mov\.u32 %r\d+, %ctaid\.x;)/, "$1setp.eq.s32 %p0, 0, 1; @%p0 $2"),
    silent: true,
  },
  {
    name: "the zeros under a guarded load gone",
    code: "UNDEFINED",
    apply: (kernel) => {
      const loaded = /@%p\d+ ld\.global\.nc\S* \{?(%[frh]\d+)/.exec(kernel.text)?.[1];
      return loaded === undefined ? null : text(line(`mov\\.\\w+ ${loaded}, \\w+;`), "")(kernel);
    },
    silent: true,
  },
  {
    name: "an accumulator without a start",
    code: "UNDEFINED",
    apply: (kernel) => {
      const sum = /mma\.sync\S* \{(%f\d+)/.exec(kernel.text)?.[1];
      return sum === undefined ? null : text(line(`mov\\.f32 ${sum}, 0f00000000;`), "")(kernel);
    },
    silent: true,
  },
  // Memory.
  {
    name: "a misaligned global vector",
    code: "ALIGN",
    apply: text(/(global\S*\.v4.*\[%d\d+)(?:\+\d+)?\]/, "$1+4]"),
    silent: true,
  },
  {
    name: "a misaligned element",
    code: "ALIGN",
    apply: text(/((?:ld|st)\.global\S*\.(?:f32|b32|b16) .*\[%d\d+)\]/, "$1+1]"),
    silent: true,
  },
  {
    name: "a misaligned shared access",
    code: "ALIGN",
    apply: text(/(shared\S*\.f32 .*\[%r\d+)\+?-?\d*\]/, "$1+2]"),
    silent: true,
  },
  {
    name: "a misaligned matrix row",
    code: "ALIGN",
    apply: text(/(ldmatrix.*\[%r\d+)\]/, "$1+8]"),
    silent: true,
  },
  {
    name: "a misaligned copy",
    code: "ALIGN",
    apply: text(/(cp\.async\.cg\S* \[%r\d+)(?:\+\d+)?\]/, "$1+8]"),
    silent: true,
  },
  {
    name: "a stride of half an element",
    code: "ALIGN",
    apply: text(/(mad\.wide\.s32 %d\d+, %r\d+, )[24],/g, "$11,"),
    silent: true,
  },
  {
    name: "an address without its operand",
    code: "ADDRESS",
    apply: text(/(mad\.wide\.s32 %d\d+, %r\d+, \d+), %d\d+;/, "$1, 0;"),
    silent: true,
  },
  {
    name: "an address not in shared memory",
    code: "ADDRESS",
    apply: text(/(mov\.u32 %r\d+), farrier_shared/, "$1, 0"),
    silent: true,
  },
  {
    name: "a write to what is read only",
    code: "ACCESS",
    apply: launch(({ params }) => ({
      params: params.map((param): PtxParam =>
        param.kind === "pointer" ? { ...param, access: "read" } : param,
      ),
    })),
    silent: true,
  },
  {
    name: "a read-only load of what is written",
    code: "ACCESS",
    apply: ({ text: source, ...kernel }) =>
      /ld\.global\.nc/.test(source)
        ? {
            ...kernel,
            text: source,
            options: {
              ...kernel.options,
              params: kernel.options.params.map((param): PtxParam =>
                param.kind === "pointer" ? { ...param, access: "readwrite" } : param,
              ),
            },
          }
        : null,
    silent: true,
  },
  {
    name: "too little shared memory",
    code: "SHARED",
    apply: launch(({ sharedBytes }) => (sharedBytes > 16 ? { sharedBytes: 16 } : null)),
    silent: true,
  },
  {
    name: "more shared memory than there is",
    code: "SHARED",
    apply: launch(({ sharedBytes }) => (sharedBytes > 0 ? { sharedLimit: sharedBytes - 1 } : null)),
    silent: true,
  },
  {
    name: "an offset beyond shared memory",
    code: "SHARED",
    apply: text(/(shared\S*\.f32 .*\[%r\d+)\+?-?\d*\]/, "$1+1048576]"),
    silent: true,
  },
  {
    name: "shared memory asked for, none declared",
    code: "SHARED",
    apply: (kernel) =>
      /farrier_shared/.test(kernel.text) ? null : launch(() => ({ sharedBytes: 64 }))(kernel),
    silent: true,
  },
  {
    name: "too much static shared memory",
    code: "SHARED",
    apply: text(/(\.address_size 64)/, "$1\n.shared .align 16 .b8 big[65536];"),
    silent: true,
  },
  // Barriers.
  {
    name: "a barrier that there is not",
    code: "BARRIER",
    apply: text(/bar\.sync 0/, "bar.sync 16"),
  },
  {
    name: "a barrier of a part of a warp",
    code: "BARRIER",
    apply: text(/bar\.sync 0/, "bar.sync 0, 40"),
  },
  {
    name: "a barrier of more threads than there are",
    code: "BARRIER",
    apply: text(/bar\.sync 0/, "bar.sync 0, 2048"),
    silent: true,
  },
  {
    name: "a barrier under a guard",
    code: "DIVERGENT",
    apply: beforeLine(barrier, (found, p) => `@${p} ${found}`),
    silent: true,
  },
  {
    name: "a barrier that some threads skip",
    code: "DIVERGENT",
    apply: beforeLine(barrier, (found, p) => `@${p} bra SKIPPED;\n${found}\nSKIPPED:`),
    silent: true,
  },
  {
    name: "a barrier after some threads ended",
    code: "DIVERGENT",
    apply: beforeLine(barrier, (found, p) => `@${p} ret;\n${found}`),
    silent: true,
  },
  {
    name: "a shuffle that some lanes skip",
    code: "DIVERGENT",
    apply: beforeLine(exchange, (found, p) => `@${p} ret;\n${found}`),
    silent: true,
  },
  // What a warpgroup does together, and what one architecture has alone.
  {
    name: "products that some warps of the group skip",
    code: "DIVERGENT",
    apply: beforeProducts("setp.lt.s32 $p, $t, 32;"),
    silent: true,
  },
  {
    name: "products after some lanes went ahead",
    code: "DIVERGENT",
    apply: beforeProducts("setp.lt.s32 $p, $t, 5;"),
    silent: true,
  },
  {
    name: "a product under a guard",
    code: "GUARD",
    apply: text(/(setp\.eq\.s32 (%p\d+),[\s\S]*?)wgmma\.mma_async/, "$1@$2 wgmma.mma_async"),
    silent: true,
  },
  {
    name: "too few sums of a product",
    code: "VECTOR",
    apply: text(/(wgmma\.mma_async\S* \{)%f\d+, /, "$1"),
  },
  {
    name: "an instruction of one architecture alone",
    code: "ARCH",
    apply: (kernel) => {
      const changed = text(/\.target sm_90a/, ".target sm_90")(kernel);
      const name = { ...kernel.options.target, name: "sm_90" };
      return changed && { ...changed, options: { ...changed.options, target: name } };
    },
  },
  {
    name: "a number of registers that there is not",
    code: "OPERANDS",
    apply: text(/(setmaxnreg\S*) \d+/, "$1 236"),
  },
  {
    name: "a barrier in shared memory between two words",
    code: "ALIGN",
    apply: text(/(mbarrier\.init\S* \[%r\d+)\+8\]/, "$1+4]"),
    silent: true,
  },
  {
    name: "a shuffle under a guard",
    code: "DIVERGENT",
    apply: beforeLine(
      exchange,
      (found, p) => `setp.ne.s32 %p0, 0, 0; mov.b32 ${/%\w+/.exec(found)![0]}, 0;\n@${p} ${found}`,
    ),
    silent: true,
  },
];

const features =
  /wgmma|bar\.sync|shfl|mma\.sync|ldmatrix|cp\.async\.c[ag]|\.shared\.v4|@%p\d+ ld|cvt\.rn\.bf16/g;

/** The smallest kernel of each family with each set of features. */
const subjects = [
  ...new Map(
    [...kernels]
      .sort((a, b) => b.text.length - a.text.length)
      .map((kernel): [string, Kernel] => {
        const found = (kernel.text.match(features) ?? []).map((name) => name.replace(/\d+/, ""));
        return [`${kernel.name.split(" ")[0]} ${[...new Set(found)].sort().join()}`, kernel];
      }),
  ).values(),
].sort((a, b) => a.text.length - b.text.length);

/** The first subject that has what a mutation spoils. */
function firstOf(apply: Mutation["apply"]): Kernel {
  for (const kernel of subjects) {
    const spoiled = apply(kernel);
    if (spoiled !== null) return spoiled;
  }
  throw new Error("no kernel has it");
}

describe("a spoiled kernel", () => {
  it("comes in all kinds", () => {
    expect(mutations.length).toBeGreaterThanOrEqual(30);
    expect(new Set(mutations.map(({ name }) => name)).size).toBe(mutations.length);
    const dependent = "DEPENDENT"; // Below: no kernel has it yet.
    const tried = new Set<string>([...mutations.map(({ code }) => code), dependent]);
    expect(Object.keys(checks).filter((check) => !tried.has(check))).toEqual([]);
  });

  it.each(mutations)("is refused: $name", ({ code, apply }) => {
    let applied = 0;
    for (const kernel of subjects) {
      const spoiled = apply(kernel);
      if (spoiled === null) continue;
      applied++;
      const codes = verifyPtx(spoiled.text, spoiled.options).map((problem) => problem.code);
      expect([kernel.name, codes]).toEqual([
        kernel.name,
        expect.arrayContaining([`E_PTX_${code}`]),
      ]);
    }
    expect(applied).toBeGreaterThan(0);
  });

  const checked = present ? mutations : [];
  it.skipIf(!present).each(checked)(
    "is no surprise to ptxas: $name",
    ({ apply, silent = false }) => {
      const spoiled = firstOf(apply);
      const found = assemble(
        spoiled.text,
        /\.target (sm_80|sm_90a)/.exec(spoiled.text)?.[1] ?? "sm_80",
      );
      expect([found, found === null]).toEqual([found, silent]);
    },
  );
});

/** A kernel of one operand that is written and one weight, for 64 threads. */
function small(lines: readonly string[], options: Partial<VerifyOptions> = {}): string[] {
  const { name = "sm_80", version = "7.0" } = options.target ?? {};
  const source = [
    `.version ${version}`,
    `.target ${name}`,
    ".address_size 64",
    ".extern .shared .align 16 .b8 memory[];",
    ".visible .entry kernel(.param .u64 param_0, .param .u64 param_1)",
    ".maxntid 64, 1, 1",
    "{",
    ".reg .b32 %r<8>; .reg .b64 %d<8>; .reg .f32 %f<8>; .reg .pred %p<8>;",
    "ld.param.u64 %d0, [param_0]; cvta.to.global.u64 %d1, %d0;",
    "ld.param.u64 %d2, [param_1]; cvta.to.global.u64 %d3, %d2;",
    "mov.u32 %r0, %tid.x; and.b32 %r1, %r0, 31; shr.u32 %r2, %r0, 5;",
    ...lines,
    "}",
  ].join("\n");
  const params: PtxParam[] = [
    { kind: "pointer", align: 16, access: "readwrite" },
    { kind: "pointer", align: 16, access: "read", weight: true },
  ];
  const launched = { target: { name, version }, sharedBytes: 1024, threads: 64, params };
  return verifyPtx(source, { ...launched, ...options }).map(({ code }) => code);
}

describe("definitions", () => {
  const guarded = ["setp.lt.s32 %p0, %r0, 5;", "@%p0 mov.b32 %r3, 1;"];
  it("under a guard hold under the same guard only", () => {
    expect(small([...guarded, "@%p0 add.s32 %r4, %r3, 1;", "ret;"])).toEqual([]);
    expect(small([...guarded, "add.s32 %r4, %r3, 1;", "ret;"])).toEqual(["E_PTX_UNDEFINED"]);
    expect(small([...guarded, "@!%p0 add.s32 %r4, %r3, 1;", "ret;"])).toEqual(["E_PTX_UNDEFINED"]);
  });

  it("under a guard and its opposite hold everywhere", () => {
    const both = [...guarded, "@!%p0 mov.b32 %r3, 2;", "add.s32 %r4, %r3, 1;", "ret;"];
    expect(small(both)).toEqual([]);
  });

  it("under a guard are forgotten when its predicate changes", () => {
    const changed = [...guarded, "setp.lt.s32 %p0, %r0, 9;", "@%p0 add.s32 %r4, %r3, 1;", "ret;"];
    expect(small(changed)).toEqual(["E_PTX_UNDEFINED"]);
  });

  it("must be on both ways to where they are used", () => {
    const ways = (other: string): string[] => [
      "setp.lt.s32 %p0, %r0, 5;",
      "@%p0 bra OTHER;",
      "mov.b32 %r3, 1;",
      "bra BOTH;",
      "OTHER:",
      other,
      "BOTH:",
      "add.s32 %r4, %r3, 1;",
      "ret;",
    ];
    expect(small(ways("mov.b32 %r3, 2;"))).toEqual([]);
    expect(small(ways("mov.b32 %r5, 2;"))).toEqual(["E_PTX_UNDEFINED"]);
  });
});

describe("barriers and shuffles", () => {
  const skip = (compare: string, body: string): string[] => [
    compare,
    "@%p0 bra AFTER;",
    body,
    "AFTER:",
    "ret;",
  ];
  const shuffle = "shfl.sync.bfly.b32 %r5, %r0, 1, 0x1f, 0xffffffff;";

  it("may be skipped by all alike", () => {
    const block = "mov.u32 %r4, %ctaid.x; setp.lt.s32 %p0, %r4, 5;";
    expect(small(skip(block, "bar.sync 0;"))).toEqual([]);
    const wholeWarps = "setp.eq.s32 %p0, %r2, 1;";
    expect(small(skip(wholeWarps, shuffle))).toEqual([]);
    expect(small(skip(wholeWarps, "bar.sync 1, 32;"))).toEqual([]);
    expect(small(skip(wholeWarps, "bar.sync 0;"))).toEqual(["E_PTX_DIVERGENT"]);
    expect(small(skip("setp.lt.s32 %p0, %r0, 32;", shuffle))).toEqual([]);
    expect(small(skip("setp.lt.s32 %p0, %r0, 33;", shuffle))).toEqual(["E_PTX_DIVERGENT"]);
    expect(small(skip("setp.lt.s32 %p0, %r1, 4;", "bar.sync 1, 32;"))).toEqual(["E_PTX_DIVERGENT"]);
  });

  it("may depend on what a reduction gave to every lane", () => {
    const reduce = [1, 2, 4, 8, 16].flatMap((distance) => [
      `shfl.sync.bfly.b32 %r4, %r3, ${distance}, 0x1f, 0xffffffff;`,
      "max.s32 %r3, %r3, %r4;",
    ]);
    // Registers of their own: only then is it clear what was exchanged.
    const named = ["mad.lo.s32 %v0, %r1, 3, 1;"].concat(
      [1, 2, 4, 8, 16].flatMap((distance, i) => [
        `shfl.sync.bfly.b32 %w${i}, %v${i}, ${distance}, 0x1f, 0xffffffff;`,
        `max.s32 %v${i + 1}, %v${i}, %w${i};`,
      ]),
    );
    const test = (lines: readonly string[], result: string): string[] => [
      ".reg .b32 %v<6>; .reg .b32 %w<5>;",
      ...lines,
      ...skip(`setp.lt.s32 %p0, ${result}, 50;`, "bar.sync 0;"),
    ];
    expect(small(test(named, "%v5"))).toEqual([]);
    expect(small(test(named, "%v4"))).toEqual(["E_PTX_DIVERGENT"]);
    expect(small(test(["mov.b32 %r3, %r1;", ...reduce], "%r3"))).toEqual(["E_PTX_DIVERGENT"]);
  });

  it("must not follow a loop that threads leave one by one", () => {
    const loop = (bound: string, body: string): string[] => [
      "mov.b32 %r3, 0;",
      "AGAIN:",
      body,
      "add.s32 %r3, %r3, 1;",
      `setp.lt.s32 %p0, %r3, ${bound};`,
      "@%p0 bra AGAIN;",
      "setp.eq.s32 %p1, %r3, 7;",
      "@%p1 bra AFTER;",
      "bar.sync 0;",
      "AFTER:",
      "ret;",
    ];
    expect(small(loop("9", "bar.sync 0;"))).toEqual([]);
    expect(small(loop("%r0", "bar.sync 0;"))).toEqual(["E_PTX_DIVERGENT", "E_PTX_DIVERGENT"]);
  });
});

describe("dependent launches", () => {
  const target = { name: "sm_90", version: "7.8" };
  const wait = "griddepcontrol.wait;";
  const weight = "ld.global.f32 %f0, [%d3];";
  const other = "ld.global.f32 %f1, [%d1];";
  const write = "st.global.f32 [%d1], %f0;";
  const dependent = (...lines: readonly string[]): string[] =>
    small([...lines, "ret;"], { target, dependent: true });

  it("touch weights only before they wait", () => {
    expect(dependent(weight, wait, other, write)).toEqual([]);
    expect(dependent("griddepcontrol.launch_dependents;", weight, wait, write)).toEqual([]);
    expect(dependent(other, wait)).toEqual(["E_PTX_DEPENDENT"]);
    expect(dependent(weight, write, wait)).toEqual(["E_PTX_DEPENDENT"]);
  });

  it("read only weights as what nothing writes", () => {
    expect(dependent(weight.replace("global", "global.nc"), wait)).toEqual([]);
    expect(dependent(wait, other.replace("global", "global.nc"))).toContain("E_PTX_DEPENDENT");
  });

  it("wait on every path", () => {
    expect(dependent(weight)).toEqual(["E_PTX_DEPENDENT"]);
    const test = "setp.lt.s32 %p0, %r0, 5;";
    expect(dependent(test, "@%p0 ret;", wait)).toContain("E_PTX_DEPENDENT");
    const skipped = dependent(test, "@%p0 bra AFTER;", wait, "AFTER:", other);
    expect(skipped.filter((code) => code === "E_PTX_DEPENDENT").length).toBe(2);
  });

  it("need an architecture that has them", () => {
    expect(small([wait, "ret;"])).toEqual(["E_PTX_ARCH"]);
  });
});

it("docs/ptx-verifier.md lists every code", () => {
  const page = readFileSync(join(packageRoot(), "docs", "ptx-verifier.md"), "utf8");
  const listed = [...page.matchAll(/^\| `E_PTX_(\w+)` \|/gm)].map(([, check]) => check);
  expect(listed.sort()).toEqual(Object.keys(checks).sort());
});
