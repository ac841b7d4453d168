/**
 * Every failure that a user can cause is a FarrierError: a code, the place, what was expected, what
 * was found, and what to do next. The exit status follows from the code, through one table.
 */

/** Exit status per class of error: see `docs/errors.md`. */
export const exitStatus = {
  ok: 0,
  verificationFailed: 1,
  badInput: 2,
  unsupported: 3,
  device: 4,
  io: 5,
  internal: 70,
} as const;

type ExitClass = keyof typeof exitStatus;

/** Codes that are not plain bad input; every other `E_…` code is class `badInput`. */
const classOfCode: Readonly<Record<string, ExitClass>> = {
  E_VERIFY: "verificationFailed",
  E_OP_UNSUPPORTED: "unsupported",
  E_OP_VERSION: "unsupported",
  E_ARCH: "unsupported",
  E_TYPE_UNSUPPORTED: "unsupported",
  E_CONFIG_UNSUPPORTED: "unsupported",
  E_REMOTE_CODE: "unsupported",
  E_TARGET: "unsupported",
  E_NO_CC: "unsupported",
  E_UNSUPPORTED: "unsupported",
  E_NO_DEVICE: "device",
  E_RT_OOM: "device",
  E_RT_DEVICE: "device",
  E_RT_DEAD: "device",
  E_MODULE: "device",
  E_LAUNCH: "device",
  E_DEVICE_LOST: "device",
  E_IO: "io",
  E_INTERNAL: "internal",
};

export interface ErrorPlace {
  /** File the error is about, as the user named it. */
  file?: string;
  /** Byte offset in that file. */
  offset?: number | bigint;
  /** Node, tensor, field or flag. */
  where?: string;
  /** What the user can do next, as an imperative sentence. */
  hint?: string;
  cause?: unknown;
}

export class FarrierError extends Error {
  readonly code: string;
  readonly place: Readonly<ErrorPlace>;

  /**
   * @param code one of the `E_…` codes
   * @param what what is wrong: expected and found, in one sentence without the place
   */
  constructor(code: string, what: string, place: ErrorPlace = {}) {
    const at = [
      place.file,
      place.offset === undefined ? undefined : `byte ${place.offset}`,
      place.where,
    ].filter((part) => part !== undefined);
    const prefix = at.length > 0 ? `${at.join(", ")}: ` : "";
    const hint = place.hint === undefined ? "" : ` (${place.hint})`;
    super(
      `${code}: ${prefix}${what}${hint}`,
      place.cause === undefined ? {} : { cause: place.cause },
    );
    this.name = "FarrierError";
    this.code = code;
    this.place = place;
  }

  get exitStatus(): number {
    return exitStatus[classOfCode[this.code] ?? "badInput"];
  }
}

/** A defect of farrier itself: never caught to try something else. */
export function bug(what: string): FarrierError {
  return new FarrierError("E_INTERNAL", what, {
    hint: "this is a defect of farrier: please report it",
  });
}
