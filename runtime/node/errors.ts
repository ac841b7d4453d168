/** A failure of the runtime: the same codes and exit statuses as the compiler's errors. */
export class FarrierRuntimeError extends Error {
  /** One of the `E_…` codes. */
  readonly code: string;
  /** What the command line exits with: 2 bad input, 3 unsupported, 4 device, 5 I/O, 70 our bug. */
  readonly exitStatus: number;

  /** @param message begins with the code */
  constructor(code: string, message: string, exitStatus = 2, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.name = "FarrierRuntimeError";
    this.code = code;
    this.exitStatus = exitStatus;
  }
}

/** Bad input to the wrapper itself. */
export function badInput(code: string, what: string, hint?: string): FarrierRuntimeError {
  return new FarrierRuntimeError(code, `${code}: ${what}${hint === undefined ? "" : ` (${hint})`}`);
}

/** An error of the addon as a typed one; anything else as it is. */
export function typed(error: unknown): unknown {
  if (!(error instanceof Error) || !("code" in error) || !("exitStatus" in error)) return error;
  const { code, exitStatus } = error;
  if (typeof code !== "string" || typeof exitStatus !== "number") return error;
  return new FarrierRuntimeError(code, error.message, exitStatus, error);
}

/** Runs a call of the addon; its errors become typed. */
export function call<T>(body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw typed(error);
  }
}

export async function callAsync<T>(body: () => Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    throw typed(error);
  }
}
