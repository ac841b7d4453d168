/** The header against the target and the launch: version, parameters, threads, shared memory. */
import type { Problems } from "./problem.js";
import { bits, type Module, type VerifyOptions } from "./types.js";

/** Static shared memory that a kernel may have. */
const staticLimit = 48 * 1024;

export function checkModule(module: Module, options: VerifyOptions, problems: Problems): void {
  checkTarget(module, options, problems);
  checkParams(module, options, problems);
  checkThreads(module, options, problems);
  checkShared(module, options, problems);
}

function checkTarget(module: Module, { target }: VerifyOptions, problems: Problems): void {
  const { major, minor } = module.version ?? { major: 0, minor: 0 };
  const [wantedMajor, wantedMinor] = target.version.split(".").map(Number) as [number, number];
  if (major > wantedMajor || (major === wantedMajor && minor > wantedMinor))
    problems.add("MODULE", 1, `.version ${major}.${minor}, but the target has ${target.version}`);
  if (module.target !== target.name)
    problems.add("MODULE", 2, `.target ${module.target}, expected ${target.name}`);
  if (module.addressSize !== 64)
    problems.add("MODULE", 3, `.address_size ${module.addressSize}, expected 64`);
}

/** Arguments are 8 bytes each, so the i-th lies at 8 i. */
function checkParams(module: Module, { params }: VerifyOptions, problems: Problems): void {
  const line = module.entry?.line ?? 1;
  if (module.params.length !== params.length)
    problems.add(
      "PARAM",
      line,
      `${module.params.length} parameters for ${params.length} arguments`,
    );
  for (const { name, type, line: at } of module.params)
    if (bits[type] !== 64 || type === "f64")
      problems.add("PARAM", at, `parameter ${name} is .${type}, expected 8 bytes`);
}

function checkThreads(module: Module, { threads }: VerifyOptions, problems: Problems): void {
  const line = module.entry?.line ?? 1;
  const most = module.tuning.get(".reqntid") ?? module.tuning.get(".maxntid");
  if (threads < 1 || threads > 1024) problems.add("MODULE", line, `${threads} threads in a block`);
  if (most === undefined) problems.add("MODULE", line, "no .maxntid");
  else if (most.reduce((product, n) => product * n, 1) !== threads)
    problems.add("MODULE", line, `.maxntid ${most.join(", ")} for a launch of ${threads} threads`);
  if (module.tuning.has(".minnctapersm") && most === undefined)
    problems.add("MODULE", line, ".minnctapersm without .maxntid");
}

function checkShared(module: Module, options: VerifyOptions, problems: Problems): void {
  let fixed = 0;
  let dynamic = false;
  for (const { align, bytes } of module.shared.values()) {
    if (bytes === null) dynamic = true;
    else fixed = Math.ceil(fixed / align) * align + bytes;
  }
  const line = module.entry?.line ?? 1;
  if (fixed > staticLimit)
    problems.add("SHARED", line, `${fixed} bytes of static shared memory of ${staticLimit}`);
  if (!dynamic && options.sharedBytes > 0)
    problems.add("SHARED", line, `${options.sharedBytes} bytes asked for, none declared`);
  const limit = options.sharedLimit ?? Infinity;
  if (fixed + options.sharedBytes > limit)
    problems.add("SHARED", line, `${fixed + options.sharedBytes} bytes of the ${limit} there are`);
}
