/** Memory of the tensors of a run, each between bands that no kernel may touch. */
import { addon, type CopySpec, type Handle } from "../../runtime/node/addon.js";

/** Bytes before and after each tensor. */
const guard = 256;

/** A tensor with its bands on the host. */
export class Guarded {
  readonly all: Uint8Array;
  readonly bytes: Uint8Array;

  constructor(
    readonly size: number,
    readonly poison: number,
  ) {
    this.all = new Uint8Array(new ArrayBuffer(size + 2 * guard)).fill(poison);
    this.bytes = this.all.subarray(guard, guard + size);
  }

  /** Whether the bands still hold what they were filled with. */
  intact(): boolean {
    const bands = [this.all.subarray(0, guard), this.all.subarray(guard + this.size)];
    return bands.every((band) => band.every((byte) => byte === this.poison));
  }
}

/** Where tensors are while kernels run. */
export interface Placed {
  readonly data: readonly (Uint8Array | bigint)[];
  /** Tensors with their bands, before and after the run. */
  readonly copies: readonly CopySpec[];
}

const aligned = (bytes: number): number => Math.ceil(bytes / 256) * 256;

/** One allocation that grows: the workspace, and on a GPU the tensors too. */
export class DeviceMemory {
  #address = 0n;
  #bytes = 0;

  constructor(
    readonly device: Handle,
    /** DLPack's type: on a CPU kernels take the host's memory. */
    readonly type: number,
  ) {}

  get address(): bigint {
    return this.#address;
  }

  get bytes(): number {
    return this.#bytes;
  }

  grow(bytes: number): void {
    if (bytes <= this.#bytes) return;
    this.free();
    this.#address = addon().alloc(this.device, bytes);
    this.#bytes = bytes;
  }

  free(): void {
    if (this.#bytes > 0) addon().free(this.device, this.#address);
    this.#bytes = 0;
  }

  place(tensors: readonly Guarded[]): Placed {
    if (this.type === 1) return { data: tensors.map(({ bytes }) => bytes), copies: [] };
    this.grow(tensors.reduce((total, { all }) => total + aligned(all.length), 0));
    let next = this.#address;
    const starts = tensors.map(({ all }) => {
      const start = next;
      next += BigInt(aligned(all.length));
      return start;
    });
    return {
      data: starts.map((start) => start + BigInt(guard)),
      copies: tensors.map(({ all }, i) => ({ address: starts[i]!, host: all })),
    };
  }
}
