/** Runs a case in the interpreter. */
import { readElements, writeElements } from "../../../compiler/scalar/elements.js";
import type { Target } from "../../../compiler/kernel/target.js";
import { byteSize } from "../../../compiler/ir/dtype.js";
import { runPtx, type RunReport } from "../../kernels/ptx/mma-interpreter.js";
import { hostValue, poison, tensorOf, workspaceBytes, type GpuCase, type Tensors } from "./case.js";

export function interpret(test: GpuCase, on?: Target): { after: Tensors; report: RunReport } {
  const { operands } = test.desc;
  const buffers = operands.map((operand) => {
    const values = tensorOf(operand, test);
    const bytes = byteSize(operand.dtype, hostValue(operand.elements, test.symbols));
    return {
      data:
        values === null ? new Uint8Array(bytes).fill(poison) : writeElements(operand.dtype, values),
    };
  });
  const kernel = test.kernel(on);
  const workspace = workspaceBytes(kernel, test.symbols);
  const { launch } = kernel;
  if (launch.kind !== "gpu") throw new Error("not a GPU kernel");
  const [x, y, z] = launch.grid.map((extent) => hostValue(extent, test.symbols)) as [
    number,
    number,
    number,
  ];
  const report = runPtx(kernel.text, {
    grid: [x, y, z],
    threads: launch.threads,
    sharedBytes: launch.sharedBytes,
    buffers: [...buffers, ...Object.values(workspace ?? {}).map((data) => ({ data }))],
    scalars: kernel.scalars.map((scalar) => hostValue(scalar, test.symbols)),
  });
  if (workspace?.tickets.some((byte) => byte !== 0) === true)
    throw new Error("a ticket is not zero after the run");
  const after: Tensors = new Map(
    operands.map((operand, index) => [
      operand.name,
      [
        ...readElements(
          operand.dtype,
          buffers[index]!.data,
          hostValue(operand.elements, test.symbols),
        ),
      ],
    ]),
  );
  return { after, report };
}
