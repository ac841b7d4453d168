/**
 * `index.js` and `index.d.ts` of a bundle: its entries under their own names, with the names, dtypes
 * and shapes of what they take and give. Plain text, so that compiling a model never loads
 * TypeScript (docs/adr/0006).
 */
import type { BundlePlan, EntrySpec, HostExpr, PlanSymbol, TensorSpec } from "../plan/plan.js";
import { bug } from "../errors.js";

/** Members of an open bundle besides its entries. */
const reserved: readonly string[] = ["model", "createState", "close"];

/** The typed array of a tensor's `data`, as `farrier/runtime` gives it. */
const arrays: Readonly<Record<string, string>> = {
  f64: "Float64Array",
  f32: "Float32Array",
  f16: "Uint16Array",
  bf16: "Uint16Array",
  i64: "BigInt64Array",
  u64: "BigUint64Array",
  i32: "Int32Array",
  u32: "Uint32Array",
  i16: "Int16Array",
  u16: "Uint16Array",
  i8: "Int8Array",
};

const isFloat = (dtype: string): boolean => /^(f|bf)\d/.test(dtype);
const quoted = (text: string): string => JSON.stringify(text);
const isIdentifier = (text: string): boolean => /^[A-Za-z_$][\w$]*$/.test(text);
/** A member of a type. */
const member = (name: string): string => (isIdentifier(name) ? name : quoted(name));
/** A key of an object literal, where `__proto__` would set the prototype. */
const key = (name: string): string =>
  isIdentifier(name) && name !== "__proto__" ? name : `[${quoted(name)}]`;

/** Text inside a comment: names come from model files and may hold anything. */
function commented(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, " ").replaceAll("*/", "*\\/");
}

const infix: Readonly<Record<string, string>> = { add: "+", sub: "-", mul: "*", mod: "%" };

/** A dimension for people: `past + seq`, `div(seq, 2)`. */
export function dimText(dim: HostExpr): string {
  if (typeof dim === "number" || typeof dim === "string") return String(dim);
  const [op, ...args] = dim as readonly [string, ...HostExpr[]];
  const sign = infix[op];
  if (sign === undefined) return `${op}(${args.map(dimText).join(", ")})`;
  return args
    .map((arg) => (typeof arg === "object" ? `(${dimText(arg)})` : dimText(arg)))
    .join(` ${sign} `);
}

export const shapeText = (shape: readonly HostExpr[]): string =>
  `[${shape.map(dimText).join(", ")}]`;

function symbolText({ name, min, max, divisor }: PlanSymbol): string {
  const range = min === max ? `${name} = ${min}` : `${name} = ${min}..${max}`;
  return divisor > 1 ? `${range} in steps of ${divisor}` : range;
}

/** A type's name: `main` is Main, `decode-long` is DecodeLong. */
function typeName(entry: string): string {
  const parts = entry.split(/[^A-Za-z0-9]+/).filter((part) => part !== "");
  const name = parts.map((part) => part[0]!.toUpperCase() + part.slice(1)).join("");
  return /^[A-Za-z]/.test(name) ? name : `Entry${name}`;
}

function inputMember({ name, dtype, shape, fill }: TensorSpec): string[] {
  const absent = fill === undefined ? "" : `; filled with ${fill} where it is left out`;
  const type = isFloat(dtype) ? "TensorLike" : "IntegersLike";
  return [
    `  /** ${commented(`${dtype} ${shapeText(shape)}`)}${absent} */`,
    `  readonly ${member(name)}${fill === undefined ? "" : "?"}: ${type};`,
  ];
}

function outputMember({ name, dtype, shape }: TensorSpec): string[] {
  return [
    `  /** ${commented(`${dtype} ${shapeText(shape)}`)} */`,
    `  readonly ${member(name)}: TensorOf<${quoted(dtype)}, ${arrays[dtype] ?? "Uint8Array"}>;`,
  ];
}

/** Whether a plan of the entry reads or writes a state. */
function usesState(plan: BundlePlan, entry: EntrySpec): boolean {
  return Object.values(plan.targets).some((target) =>
    (target.entries[entry.name] ?? []).some(({ steps }) =>
      steps.some((step) => step.buffers.some((buffer) => buffer.kind === "state")),
    ),
  );
}

function entryTypes(plan: BundlePlan, entry: EntrySpec): string[] {
  const name = typeName(entry.name);
  const state = usesState(plan, entry);
  const options = `RunOf<keyof ${name}Outputs & string, O${state ? ", State" : ""}>`;
  return [
    `export interface ${name}Inputs {`,
    ...entry.inputs.flatMap(inputMember),
    "}",
    "",
    `export interface ${name}Outputs {`,
    ...entry.outputs.flatMap(outputMember),
    "}",
    "",
    `export interface ${name} {`,
    ...(state ? ["  /** Reads and updates a state: `createState()` makes an empty one. */"] : []),
    `  run<O extends keyof ${name}Outputs & string = keyof ${name}Outputs & string>(`,
    `    inputs: ${name}Inputs,`,
    `    options${state ? "" : "?"}: ${options},`,
    `  ): Promise<Pick<${name}Outputs, O>>;`,
    "}",
    "",
  ];
}

const typesHead = `import type {
  LoadOptions,
  Model,
  RunOptions,
  State,
  Tensor,
  TensorLike,
} from "farrier/runtime" with { "resolution-mode": "import" };

/** A tensor of known element type. */
export type TensorOf<D extends string, A> = Tensor & { readonly dtype: D; readonly data: A };
/** What may be given for integers: everything but arrays of floats. */
export type IntegersLike = Exclude<TensorLike, Float32Array | Float64Array>;
/** How an entry is run: \`outputs\` are those of all (A) that are wanted (O). */
export type RunOf<A extends string, O extends A, S = never> = Omit<
  RunOptions,
  "entry" | "outputs" | "state"
> & { readonly outputs?: readonly O[] } & ([S] extends [never] ? unknown : { readonly state: S });
`;

function declarations(plan: BundlePlan): string {
  const symbols = plan.symbols.map(
    ({ name, min, max, divisor }) =>
      `  readonly ${member(name)}: { readonly min: ${min}; readonly max: ${max}; readonly divisor: ${divisor} };`,
  );
  const profile =
    plan.symbols.length === 0 ? "every shape is fixed" : plan.symbols.map(symbolText).join(", ");
  return [
    `// Written by farrier with the bundle. Profile: ${commented(profile)}.`,
    typesHead,
    "/** The dimensions that vary, and the range that the bundle was compiled for. */",
    "export declare const symbols: {",
    ...symbols,
    "};",
    "",
    ...plan.entries.flatMap((entry) => entryTypes(plan, entry)),
    "/** The bundle on a device. */",
    "export interface Bundle {",
    "  readonly model: Model;",
    ...plan.entries.map(({ name }) => `  readonly ${member(name)}: ${typeName(name)};`),
    ...(plan.states.length === 0 ? [] : ["  createState(): State;"]),
    "  close(): Promise<void>;",
    "}",
    "",
    "/** Opens the bundle of this directory; default device: the CPU. */",
    "export declare function open(options?: LoadOptions): Promise<Bundle>;",
    "",
  ].join("\n");
}

function script(plan: BundlePlan): string {
  const symbols = plan.symbols.map(
    ({ name, min, max, divisor }) =>
      `  ${key(name)}: { min: ${min}, max: ${max}, divisor: ${divisor} },`,
  );
  return [
    "// Written by farrier with the bundle: types are in index.d.ts.",
    'import { fileURLToPath } from "node:url";',
    'import { load } from "farrier/runtime";',
    "",
    "export const symbols = {",
    ...symbols,
    "};",
    "",
    "export async function open(options) {",
    '  const model = await load(fileURLToPath(new URL(".", import.meta.url)), options);',
    "  const entry = (name) => ({",
    "    run: (inputs, runOptions) => model.run(inputs, { ...runOptions, entry: name }),",
    "  });",
    "  return {",
    "    model,",
    ...plan.entries.map(({ name }) => `    ${key(name)}: entry(${quoted(name)}),`),
    ...(plan.states.length === 0 ? [] : ["    createState: () => model.createState(),"]),
    "    close: () => model.close(),",
    "  };",
    "}",
    "",
  ].join("\n");
}

/** The files of the typed binding, by name. */
export function bindingFiles(plan: BundlePlan): ReadonlyMap<string, string> {
  for (const { name } of plan.entries)
    if (reserved.includes(name)) throw bug(`an entry is called ${name}`);
  return new Map([
    ["index.js", script(plan)],
    ["index.d.ts", declarations(plan)],
  ]);
}
