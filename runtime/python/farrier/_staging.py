"""Host arrays on a GPU: copied in before a call, and out after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Mapping, Optional, Sequence

from ._calls import Outputs, Shaped
from ._frameworks import Framework
from ._library import Library

if TYPE_CHECKING:
    from ._entry import Entry
    from .state import State


class Staging:
    """Buffers on a GPU for host arrays: copied in before a call and out after it."""

    __slots__ = ("_library", "_device", "addresses")

    def __init__(self, library: Library, device: int, sizes: Sequence[int]) -> None:
        self._library, self._device = library, device
        self.addresses: List[int] = []
        for size in sizes:
            self.addresses.append(library.handle(library.device_alloc, device, max(1, size)))

    def __del__(self) -> None:
        for address in self.addresses:
            self._library.device_free(self._device, address)

    def copy_in(self, index: int, address: int, size: int, stream: Optional[int]) -> None:
        self._library.check(
            self._library.device_copy_in(self._device, self.addresses[index], address, size, stream)
        )

    def copy_out(self, index: int, address: int, size: int, stream: Optional[int]) -> None:
        self._library.check(
            self._library.device_copy_out(
                self._device, address, self.addresses[index], size, stream
            )
        )


def run_staged(
    entry: "Entry",
    framework: Framework,
    values: Sequence[Any],
    addresses: Sequence[int],
    shaped: Shaped,
    state: "Optional[State]",
    out: Optional[Mapping[str, Any]],
) -> Outputs:
    """Host arrays on a GPU: copied in, run on the model's own stream, copied out, waited for."""
    library, stream = entry._library, entry.model._own_stream()
    outputs = entry._outputs(framework, shaped, out or {})
    arrays, n = [*values, *outputs], len(values)
    hosts = [*addresses, *framework.read(outputs)[1]]
    held = None if state is None else state.arrays
    frame, execution = shaped.frame(), entry._take()
    try:
        entry._write(frame, addresses, hosts[n:])
        if frame.buffers is None:
            frame.buffers = Staging(
                library, entry.model._device, [*(a.nbytes for a in arrays), shaped.workspace]
            )
        staging: Staging = frame.buffers
        for i in range(n):
            staging.copy_in(i, hosts[i], arrays[i].nbytes, stream)
        for tensor, at in zip(frame.tensors, staging.addresses):
            tensor.data = at
        execution.use(library, 0 if state is None else state.handle)
        library.check(
            library.run(
                execution.handle,
                frame.inputs,
                n,
                frame.outputs,
                len(outputs),
                staging.addresses[-1],
                shaped.workspace,
                stream,
            )
        )
        for i in range(n, len(arrays)):
            staging.copy_out(i, hosts[i], arrays[i].nbytes, stream)
        library.check(library.exec_status(execution.handle))
    finally:
        library.stream_sync(entry.model._device, stream)
        shaped.frames.append(frame)
        entry._idle.append(execution)
        del held
    return Outputs(zip(entry._out_names, outputs))
