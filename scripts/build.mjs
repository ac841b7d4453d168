// Builds dist/ with tsc and build/Release/ with cmake-js. `node scripts/build.mjs STEP…`, steps below.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const require = createRequire(import.meta.url);

const tsFolders = [
  "autotune",
  "bench",
  "compiler",
  "examples",
  "runtime/node",
  "templates",
  "test",
];
const parts = {
  ts: {
    title: "TypeScript",
    output: "dist/.built",
    inputs: () => [
      ...["index.ts", "tsconfig.json", "tsconfig.build.json", "package-lock.json"],
      ...tsFolders.flatMap((folder) => walk(folder, /(?<!\.test)\.ts$/)),
    ],
    made: () => existsSync(join(root, "dist")),
    build: buildTs,
  },
  addon: {
    title: "runtime and addon",
    output: "build/.built",
    inputs: () => [
      ...["CMakeLists.txt", "package-lock.json"],
      ...walk("cmake", /./),
      ...walk("runtime/native", /\.(cc|cpp|c|h|hh|hpp|inc)$/),
    ],
    made: () => existsSync(join(root, "build/Release/farrier_addon.node")),
    build: buildAddon,
  },
};

function walk(folder, pattern) {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) return entry.name === "node_modules" ? [] : walk(path, pattern);
    return pattern.test(entry.name) ? [path] : [];
  });
}

/** By content, not by time: a copied checkout with its dist/ and build/ needs no rebuild. */
function digest(part) {
  const hash = createHash("sha256");
  for (const path of parts[part].inputs().sort()) {
    if (existsSync(join(root, path)))
      hash.update(`${path}\0`).update(readFileSync(join(root, path)));
  }
  return hash.digest("hex");
}

/** Whether `part` ("ts" or "addon") is built from the sources as they are now. */
export function isCurrent(part) {
  const stamp = join(root, parts[part].output);
  return (
    parts[part].made() && existsSync(stamp) && readFileSync(stamp, "utf8").trim() === digest(part)
  );
}

export const isBuilt = (part) => parts[part].made();
export const hasCmake = () => spawnSync("cmake", ["--version"], { stdio: "ignore" }).status === 0;
export const noCmake =
  "cmake is not on PATH, so the runtime cannot be built here: `farrier compile` and\n" +
  "`farrier explain` work without it, running a bundle does not. Install cmake (3.20 or newer)\n" +
  "and a C++20 compiler, then `npm run build:addon`.";

/** Builds one part with progress on standard error; false when it failed. */
export function build(part) {
  const { title, output } = parts[part];
  const before = digest(part);
  const started = performance.now();
  process.stderr.write(`farrier: building ${title} ...\n`);
  const good = parts[part].build();
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  if (good) {
    mkdirSync(dirname(join(root, output)), { recursive: true });
    writeFileSync(join(root, output), `${before}\n`);
  }
  process.stderr.write(`farrier: ${title} ${good ? "built" : "FAILED"} in ${seconds} s\n`);
  return good;
}

function buildTs() {
  const tsc = tool("typescript", "bin/tsc");
  return tsc !== undefined && runNode([tsc, "-p", join(root, "tsconfig.build.json")]);
}

function buildAddon() {
  if (!hasCmake()) {
    process.stderr.write(`${noCmake}\n`);
    return false;
  }
  dropForeignCache();
  const cmakeJs = tool("cmake-js", "bin/cmake-js");
  return cmakeJs !== undefined && runNode([cmakeJs, "build", "--log-level=warn"]);
}

/** A build folder that was configured elsewhere (a moved or copied checkout) cannot be reused. */
function dropForeignCache() {
  const cache = join(root, "build/CMakeCache.txt");
  if (!existsSync(cache)) return;
  const home = /^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m.exec(readFileSync(cache, "utf8"))?.[1];
  if (home !== root) rmSync(join(root, "build"), { recursive: true, force: true });
}

function tool(name, path) {
  try {
    return join(dirname(require.resolve(`${name}/package.json`)), path);
  } catch {
    process.stderr.write(
      `farrier: ${name} is not installed: run \`npm ci --include=dev\` (npm may be omitting development packages)\n`,
    );
    return undefined;
  }
}

function runNode(args) {
  const { status } = spawnSync(process.execPath, args, {
    cwd: root,
    stdio: ["ignore", 2, 2],
    env: { CMAKE_BUILD_PARALLEL_LEVEL: String(availableParallelism()), ...process.env },
  });
  return status === 0;
}

const remove = (folder) => {
  rmSync(join(root, folder), { recursive: true, force: true });
  return true;
};

const steps = {
  ts: () => build("ts"),
  addon: () => build("addon"),
  "clean-ts": () => remove("dist"),
  clean: () => remove("dist") && remove("build"),
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const good = process.argv.slice(2).map((step) => steps[step]());
  process.exitCode = good.every(Boolean) ? 0 : 1;
}
