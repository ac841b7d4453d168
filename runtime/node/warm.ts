/** Assembled kernels, kept for the driver and the kind of GPU at hand. */
import { addon } from "./addon.js";
import { openDevice } from "./device.js";
import { call, callAsync } from "./errors.js";

export interface WarmOptions {
  /** A GPU: `cuda` (the default) or `cuda:N`. */
  readonly device?: string;
  readonly allowNative?: boolean;
  /** Units of work done, of all. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface Kept {
  /** Where they are: beside the bundle, or below `FARRIER_WARM_DIR`. */
  readonly directory: string;
  /** Texts of the bundle's target, and how many of them were assembled now; bytes of all. */
  readonly kernels: number;
  readonly made: number;
  readonly bytes: number;
}

/**
 * Assembles the kernels that a GPU runs, so that `load` need not.
 * @throws FarrierRuntimeError E_IO where they cannot be kept, E_TARGET, E_MODULE, E_UNSUPPORTED for a CPU
 */
export async function warm(path: string, options: WarmOptions = {}): Promise<Kept> {
  return callAsync(async () => {
    const bundle = await addon().openBundle(path, options.allowNative === true ? 1 : 0);
    const device = await openDevice(options.device ?? "cuda");
    try {
      return await addon().warm(bundle, device.handle, options.onProgress);
    } finally {
      for (const handle of [device.handle, bundle]) call(() => addon().release(handle));
    }
  });
}
