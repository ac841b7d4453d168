/** Writes a bundle: to a temporary directory beside the target, hashed, and renamed. */
import { createHash, randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { FarrierError } from "../errors.js";
import type { BundlePlan } from "../plan/plan.js";
import { planText } from "../plan/plan-text.js";
import { bindingFiles } from "./binding.js";

/** A file's entry in the manifest: small files by one hash, weights by the chunk. */
export type FileEntry =
  | { readonly bytes: number; readonly sha256: string }
  | { readonly bytes: number; readonly chunks: readonly string[] };

export interface BundleContent {
  readonly plan: BundlePlan;
  /** Texts by path below the bundle. */
  readonly texts: ReadonlyMap<string, string>;
  /** Writes larger files into the directory and returns their entries. */
  write(directory: string): Map<string, FileEntry>;
  /** Files outside the bundle that sources name, with what is known of them. */
  readonly references: ReadonlyMap<string, FileEntry | { readonly bytes: number }>;
  /** Set where a target holds host code: the machine that it was built on. */
  readonly machine: string | null;
  readonly needs: Readonly<Record<string, unknown>>;
}

export interface WriteOptions {
  readonly force: boolean;
  readonly version: string;
}

const reasonOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);

const temporaryName = (target: string): string =>
  path.join(
    path.dirname(path.resolve(target)),
    `.${path.basename(path.resolve(target))}.${randomBytes(6).toString("hex")}.tmp`,
  );

function statOf(target: string): fs.Stats | undefined {
  try {
    return fs.lstatSync(target, { throwIfNoEntry: false });
  } catch (error) {
    throw new FarrierError("E_IO", `cannot write here: ${reasonOf(error)}`, {
      file: target,
      hint: "choose another place with -o",
      cause: error,
    });
  }
}

/**
 * Whether a bundle can be written here, asked before the work of compiling it.
 * @throws FarrierError E_BUNDLE_EXISTS, E_IO
 */
export function checkPlace(target: string, force: boolean): void {
  if (target === "")
    throw new FarrierError("E_OPTION", "the bundle's name is empty", { hint: "name it with -o" });
  const found = statOf(target);
  if (found !== undefined) {
    if (!fs.existsSync(path.join(target, "manifest.json")))
      throw new FarrierError("E_BUNDLE_EXISTS", "there is something here that is not a bundle", {
        file: target,
        hint: "choose another place with -o: --force moves bundles aside, and nothing else",
      });
    if (!force)
      throw new FarrierError("E_BUNDLE_EXISTS", "there is a bundle here already", {
        file: target,
        hint: "choose another place with -o, or --force to move this one aside",
      });
  }
  const parent = path.dirname(path.resolve(target));
  if (!fs.existsSync(parent))
    throw new FarrierError("E_IO", `the directory ${parent} does not exist`, {
      file: target,
      hint: "make it first, or choose another place with -o",
    });
  const probe = temporaryName(target);
  try {
    fs.mkdirSync(probe);
    fs.rmdirSync(probe);
  } catch (error) {
    throw new FarrierError("E_IO", `cannot write here: ${reasonOf(error)}`, {
      file: target,
      hint: "choose another place with -o",
      cause: error,
    });
  }
}

/**
 * Writes the bundle, all of it or nothing.
 * @returns where a bundle that stood here was moved, or null
 * @throws FarrierError E_BUNDLE_EXISTS, E_IO
 */
export function writeBundle(
  target: string,
  content: BundleContent,
  options: WriteOptions,
): string | null {
  checkPlace(target, options.force);
  const temporary = temporaryName(target);
  try {
    fs.mkdirSync(temporary);
    fill(temporary, content, options);
    const aside = fs.existsSync(target) ? asideName(target) : null;
    if (aside !== null) fs.renameSync(target, aside);
    fs.renameSync(temporary, target);
    return aside;
  } catch (error) {
    fs.rmSync(temporary, { recursive: true, force: true });
    if (error instanceof FarrierError) throw error;
    throw new FarrierError("E_IO", `cannot write the bundle: ${reasonOf(error)}`, {
      file: target,
      cause: error,
    });
  }
}

function asideName(target: string): string {
  const base = path.resolve(target);
  for (let i = 1; ; i++) {
    const name = `${base}.old${i}`;
    if (!fs.existsSync(name)) return name;
  }
}

function fill(directory: string, content: BundleContent, { version }: WriteOptions): void {
  const files = new Map<string, FileEntry>();
  const put = (name: string, text: string): void => {
    const bytes = Buffer.from(text, "utf8");
    const file = path.join(directory, name);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, bytes);
    files.set(name, {
      bytes: bytes.length,
      sha256: createHash("sha256").update(bytes).digest("hex"),
    });
  };
  for (const [name, text] of content.texts) put(name, text);
  for (const [name, text] of bindingFiles(content.plan)) put(name, text);
  put("plan.json", planText(content.plan));
  for (const [name, entry] of content.write(directory)) files.set(name, entry);
  const manifest = {
    format: 1,
    farrier: version,
    entries: content.plan.entries.map((entry) => entry.name),
    targets: Object.keys(content.plan.targets),
    native: content.machine !== null,
    ...(content.machine === null ? {} : { machine: content.machine }),
    needs: content.needs,
    ...(content.references.size === 0 ? {} : { references: sorted(content.references) }),
    files: sorted(files),
  };
  fs.writeFileSync(path.join(directory, "manifest.json"), `${JSON.stringify(manifest, null, 1)}\n`);
}

const sorted = <T>(map: ReadonlyMap<string, T>): Record<string, T> =>
  Object.fromEntries([...map].sort(([a], [b]) => (a < b ? -1 : 1)));

/** The entry of a file that is on disk already. */
export function hashedFile(file: string): FileEntry {
  const bytes = fs.readFileSync(file);
  return { bytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
}
