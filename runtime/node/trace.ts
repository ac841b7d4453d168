/** The memory between the steps of a run: for who checks each kernel on its own. */
import { addon, type Handle, type RunSpec } from "./addon.js";
import type { BufferInfo } from "./description.js";
import { badInput } from "./errors.js";

/** The bytes that a buffer of the step that has just run holds now; weights are not read. */
export type ReadBuffer = (buffer: number) => Uint8Array;

/** Where a run's buffers are. */
export interface Traced {
  readonly device: Handle;
  readonly spec: RunSpec;
  readonly state: Handle | null;
}

export function readBuffer({ device, spec, state }: Traced, buffer: BufferInfo): Uint8Array {
  const copied = (address: bigint, bytes: number): Uint8Array => {
    const host = new Uint8Array(bytes);
    if (bytes > 0) addon().copyOut(device, address, host);
    return host;
  };
  if (buffer.kind === "arena")
    return copied(spec.workspace + BigInt(buffer.offset ?? 0), buffer.bytes ?? 0);
  if (buffer.kind === "state" && state !== null) {
    const { address, bytes } = addon().stateData(state, buffer.index ?? 0);
    return copied(address, bytes);
  }
  const output = buffer.kind === "output" ? spec.outputs[buffer.index ?? 0]?.data : undefined;
  if (output === undefined)
    throw badInput("E_RT_INPUT", `a buffer of kind ${buffer.kind} is not read back`);
  if (typeof output !== "bigint")
    return new Uint8Array(output.buffer, output.byteOffset, output.byteLength).slice();
  const bytes = spec.downloads.find(({ address }) => address === output)?.host.byteLength ?? 0;
  return copied(output, bytes);
}
