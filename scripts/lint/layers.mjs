// The import direction of the tree, as one table and one lint rule.
import { dirname, relative, resolve, sep } from "node:path";

/** The compiler's own order: a folder imports those before it. */
const order = ["ir", "rewrite", "passes", "kernel", "plan", "codegen", "bundle"];
const compiler = (name) => `compiler/${name}`;
const upTo = (name) => order.slice(0, order.indexOf(name)).map(compiler);

/** `values`: what a layer may import. `types`: what it may import with `import type` besides. */
const layers = {
  "compiler/errors": { values: [] },
  "compiler/ir": { values: ["compiler/scalar"] },
  "compiler/scalar": { values: ["compiler/ir"] },
  "compiler/frontend": { values: ["compiler/ir", "compiler/scalar"] },
  "compiler/rewrite": { values: ["compiler/scalar", ...upTo("rewrite")] },
  "compiler/passes": { values: ["compiler/scalar", ...upTo("passes")] },
  "compiler/kernel": { values: ["compiler/scalar", ...upTo("kernel")] },
  "compiler/plan": { values: ["compiler/scalar", ...upTo("plan")] },
  "compiler/codegen": { values: ["compiler/scalar", ...upTo("codegen")] },
  "compiler/bundle": { values: ["compiler/scalar", ...upTo("bundle"), "templates"] },
  // The drivers at the top of compiler/ (compile.ts, explain.ts): all of the compiler but the cli.
  "compiler/top": {
    values: [...["frontend", "scalar", ...order].map(compiler), "compiler/top", "templates"],
  },
  // `run`, `verify` and `tune` are commands too.
  "compiler/cli": {
    values: [...["frontend", "scalar", "top", ...order].map(compiler)].concat([
      "templates",
      "runtime/node",
      "autotune",
    ]),
  },
  templates: {
    values: ["compiler/codegen", "compiler/ir/dtype"],
    types: ["compiler/ir", "compiler/scalar", "compiler/kernel", "compiler/plan"],
  },
  "runtime/node": { values: [] },
  autotune: {
    values: [...["frontend", "scalar", "top", ...order].map(compiler)].concat([
      "templates",
      "runtime/node",
    ]),
  },
};

/** The layer that a path (from the root, with slashes) belongs to; undefined: unrestricted. */
export function layerOf(path) {
  if (/^compiler\/errors(\.\w+)?$/.test(path)) return "compiler/errors";
  if (/^compiler\/[^/]+$/.test(path)) return "compiler/top";
  return Object.keys(layers).find((layer) => path === layer || path.startsWith(`${layer}/`));
}

/** Whether the file at `from` may import the file at `to` (both from the root, with slashes). */
export function mayImport(from, to, typeOnly = false) {
  const layer = layerOf(from);
  if (layer === undefined) return true;
  const target = layerOf(to);
  if (target === layer) return true;
  if (target === "compiler/errors") return layer !== "runtime/node";
  const allowed = [...layers[layer].values, ...(typeOnly ? (layers[layer].types ?? []) : [])];
  const file = to.replace(/\.[cm]?[jt]s$/, "");
  return allowed.some((entry) => entry === target || entry === file);
}

/** ESLint rule: relative imports follow the table above. Tests reach wherever they like. */
export const importDirection = {
  meta: {
    type: "problem",
    schema: [],
    messages: {
      upward: "'{{from}}' may not import '{{to}}'{{how}}: see the table in scripts/lint/layers.mjs",
    },
  },
  create(context) {
    const toRoot = (path) => relative(context.cwd, path).split(sep).join("/");
    const from = toRoot(context.filename);
    const check = (source, typeOnly) => {
      if (typeof source?.value !== "string" || !source.value.startsWith(".")) return;
      const to = toRoot(resolve(dirname(context.filename), source.value));
      if (mayImport(from, to, typeOnly)) return;
      const how = !typeOnly && mayImport(from, to, true) ? " (types only)" : "";
      context.report({
        node: source,
        messageId: "upward",
        data: { from: layerOf(from), to: layerOf(to) ?? to, how },
      });
    };
    return {
      ImportDeclaration: (node) => check(node.source, node.importKind === "type"),
      ExportNamedDeclaration: (node) => check(node.source, node.exportKind === "type"),
      ExportAllDeclaration: (node) => check(node.source, node.exportKind === "type"),
      ImportExpression: (node) => check(node.source, false),
      TSImportType: (node) => check(node.source ?? node.argument?.literal, true),
    };
  },
};
