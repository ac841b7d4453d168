/** What a kit holds: Node, this package as it runs, and the packages that it needs. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { FarrierError } from "../errors.js";
import { packageRoot } from "../version.js";

/** Below the package; directories whole, but for what no run needs. */
const parts = [
  ...["package.json", "LICENSE", "bin", "templates", "build/Release", "prebuilds"],
  ...["dist/index.js", "dist/compiler", "dist/runtime", "dist/templates", "dist/autotune"],
  ...["runtime/python", "runtime/native/include"],
];

/** Checks on a GPU, which only a checkout has. */
const suiteParts = [
  ...["dist/test", "dist/bench", "test/gpu", "test/python/support.py"],
  ...["test/fixtures/models", "bench/gpu"],
];

const unneeded = /\.(test\.js|map|d\.ts|ts)$|__pycache__/;
const nativeFiles = /\.(node|so)$/;

const launcher = (script: string): string =>
  `#!/bin/sh
# Nothing but a shell, a C library and libstdc++ is needed of the machine.
case $0 in */*) here=\${0%/*} ;; *) here=. ;; esac
exec "$here/node" "$here/lib/farrier/${script}" "$@"
`;

const readme = `farrier: a compiler of models to GPU kernels, with its runtime and Node.

  ./farrier doctor                                 what this machine can compile for and run
  ./farrier compile MODEL --target sm_80,sm_90     ./farrier --help for the rest
  PYTHONPATH=lib/farrier/runtime/python python3    the Python package

A GPU needs NVIDIA's driver, 470 or newer, and nothing else.
`;

const suiteReadme = `
  ./farrier-suite [TEXT…]                          checks whole models on the GPU; TARGET=sm_90 chooses the target
`;

/** Writes the kit's files to `directory`, which is empty. */
export function stageKit(directory: string, suite: boolean): void {
  const root = packageRoot();
  const place = path.join(directory, "lib", "farrier");
  for (const part of suite ? [...parts, ...suiteParts] : parts) copyPart(root, place, part);
  if (!fs.existsSync(path.join(place, "dist", "compiler", "cli", "main.js")))
    throw unbuilt(root, "its TypeScript");
  if (suite && !fs.existsSync(path.join(place, "dist", "test", "gpu", "models.js")))
    throw unbuilt(
      root,
      "the suite",
      "--with-suite is for a checkout that `npm run build` has built",
    );
  copyPackages(root, path.join(place, "node_modules"));
  copyNode(path.join(directory, "node"));
  const script = (name: string, text: string): void =>
    fs.writeFileSync(path.join(directory, name), text, { mode: 0o755 });
  script("farrier", launcher("bin/farrier.js"));
  if (suite) script("farrier-suite", launcher("dist/test/gpu/models.js"));
  fs.writeFileSync(path.join(directory, "README"), suite ? readme + suiteReadme : readme);
}

const unbuilt = (root: string, what: string, hint = "run `npm run build`"): FarrierError =>
  new FarrierError("E_UNSUPPORTED", `${what} is not built, and a kit is what is built`, {
    file: root,
    hint,
  });

function copyPart(root: string, to: string, part: string): void {
  const from = path.join(root, part);
  if (!fs.existsSync(from)) return;
  const native = part === "build/Release" || part === "prebuilds";
  fs.cpSync(from, path.join(to, part), {
    recursive: true,
    dereference: true,
    filter: (file) =>
      fs.statSync(file).isDirectory() || (native ? nativeFiles.test(file) : !unneeded.test(file)),
  });
}

interface PackageFile {
  readonly dependencies?: Readonly<Record<string, string>>;
}

/** Every package that this one needs, and those that they need. */
function copyPackages(root: string, to: string): void {
  const seen = new Set<string>();
  const visit = (directory: string): void => {
    const file = fs.readFileSync(path.join(directory, "package.json"), "utf8");
    for (const name of Object.keys((JSON.parse(file) as PackageFile).dependencies ?? {})) {
      const found = packageAbove(directory, name);
      if (seen.has(found)) continue;
      seen.add(found);
      // Below the first `node_modules`: a package that another has for itself stays there.
      const below = found.slice(found.indexOf(modules) + modules.length);
      fs.cpSync(found, path.join(to, below), {
        recursive: true,
        dereference: true,
        filter: (file) => !unneeded.test(file) && !file.slice(found.length).includes(modules),
      });
      visit(found);
    }
  };
  visit(fs.realpathSync(root));
}

const modules = `${path.sep}node_modules${path.sep}`;

/** Where Node finds a package that one in `directory` imports. */
function packageAbove(directory: string, name: string): string {
  for (let at = directory; ; at = path.dirname(at)) {
    const found = path.join(at, "node_modules", name);
    if (fs.existsSync(found)) return found;
    if (at === path.dirname(at))
      throw new FarrierError("E_UNSUPPORTED", `package ${name} is not installed`, {
        file: directory,
        hint: "run `npm ci`",
      });
  }
}

/** This Node, without symbols where `strip` is at hand. */
function copyNode(to: string): void {
  const variables = process.config.variables as Readonly<Record<string, unknown>>;
  const shared = Object.keys(variables).filter(
    (name) => name.startsWith("node_shared") && variables[name] === true,
  );
  if (shared.length > 0)
    throw new FarrierError(
      "E_UNSUPPORTED",
      `this Node is made of libraries that another machine lacks: ${shared.join(", ")}`,
      { file: process.execPath, hint: "run farrier with Node's own build, from nodejs.org" },
    );
  fs.copyFileSync(process.execPath, to);
  fs.chmodSync(to, 0o755);
  try {
    execFileSync("strip", [to], { stdio: "ignore" });
  } catch {
    // It is 12 MB larger with its symbols.
  }
}
