/** Devices by name: `cpu`, `cuda:0`. */
import { addon, type Handle } from "./addon.js";
import { badInput, callAsync, FarrierRuntimeError } from "./errors.js";

export interface DeviceInfo {
  readonly type: "cpu" | "cuda";
  readonly id: number;
  readonly name: string;
  /** CPU: best instruction set of kernels, and threads that run them. */
  readonly isa?: string;
  readonly threads?: number;
  /** CUDA: compute capability such as "9.0", driver version, bytes, multiprocessors, shared memory of a block. */
  readonly capability?: string;
  readonly driver?: string;
  readonly memory?: number;
  readonly multiprocessors?: number;
  readonly sharedOptIn?: number;
}

export interface OpenDevice {
  readonly handle: Handle;
  readonly info: DeviceInfo;
  /** DLPack's type. */
  readonly type: number;
  readonly id: number;
}

const types: Readonly<Record<string, number>> = { cpu: 1, cuda: 2 };

export async function openDevice(name: string): Promise<OpenDevice> {
  const match = /^(cpu|cuda)(?::(\d{1,4}))?$/.exec(name);
  const type = types[match?.[1] ?? ""];
  if (type === undefined)
    throw badInput("E_DEVICE_NAME", `device ${JSON.stringify(name)}`, "give cpu, cuda or cuda:N");
  const id = Number(match?.[2] ?? 0);
  return callAsync(async () => {
    const handle = await addon().openDevice(type, id);
    return { handle, info: JSON.parse(addon().deviceInfo(handle)) as DeviceInfo, type, id };
  });
}

/** What this machine can run on: the CPU, then every GPU, or why there is none. */
export async function devices(): Promise<{ devices: DeviceInfo[]; cuda: string | null }> {
  const found: DeviceInfo[] = [];
  const describe = async (name: string): Promise<void> => {
    const device = await openDevice(name);
    found.push(device.info);
    addon().release(device.handle);
  };
  await describe("cpu");
  for (let id = 0; ; id++) {
    try {
      await describe(`cuda:${id}`);
    } catch (error) {
      if (!(error instanceof FarrierRuntimeError)) throw error;
      return { devices: found, cuda: id === 0 ? error.message : null };
    }
  }
}

/** Fingerprint of this machine, for a bundle's manifest (docs/bundle.md). */
export const machine = (): string => addon().machine;
