"""
What calls of the same shapes share: descriptors that C reads, built once. A call only writes addresses
into them.
"""

from __future__ import annotations

import ctypes
from typing import Any, Callable, List, Sequence

from ._frameworks import Array, Framework, Place
from ._library import DType, Library, Tensor


class Frame:
    """The descriptors of one call in flight: inputs, then outputs. `inputs`, `outputs`: for C."""

    __slots__ = ("tensors", "inputs", "outputs", "buffers", "_kept")

    def __init__(self, arrays: Sequence[Array], n_inputs: int) -> None:
        self.tensors: List[Any] = []
        self._kept: List[Any] = []
        for dtype, shape, place in arrays:
            dims = (ctypes.c_int64 * max(1, len(shape)))(*shape)
            tensor = Tensor()
            tensor.device.type, tensor.device.id = place
            tensor.ndim = len(shape)
            tensor.dtype = DType(dtype.code, dtype.bits, 1)
            tensor.shape = ctypes.addressof(dims)
            self._kept.append(dims)
            self.tensors.append(tensor)
        self.inputs = self._pointers(self.tensors[:n_inputs])
        self.outputs = self._pointers(self.tensors[n_inputs:])
        self.buffers: Any = None

    def _pointers(self, tensors: Sequence[Any]) -> int:
        array = (ctypes.c_void_p * max(1, len(tensors)))(*map(ctypes.addressof, tensors))
        self._kept.append(array)
        return ctypes.addressof(array)


class Shaped:
    """A call's shapes: what they give and need."""

    __slots__ = ("arrays", "n_inputs", "make", "fills", "fill_addresses", "workspace", "frames")

    def __init__(
        self,
        inputs: Sequence[Array],
        outputs: Sequence[Array],
        make: Sequence[Callable[[], Any]],
        fills: Sequence[Any],
        fill_addresses: Sequence[int],
        workspace: int,
    ) -> None:
        self.arrays = [*inputs, *outputs]
        self.n_inputs = len(inputs)
        self.make = make
        """Makes the framework's array of each output."""
        self.fills = fills
        """Arrays for inputs that were left out, None for those given; empty if all are."""
        self.fill_addresses = fill_addresses
        """Theirs, 0 for those given."""
        self.workspace = workspace
        self.frames: List[Frame] = []

    def frame(self) -> Frame:
        try:
            return self.frames.pop()
        except IndexError:
            return Frame(self.arrays, self.n_inputs)


class Exec:
    """An exec of the runtime, for one call at a time, and on a CPU its workspace."""

    __slots__ = ("handle", "state", "address", "bytes", "_memory")

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.state = 0
        self.address = 0
        self.bytes = 0
        self._memory: Any = None

    def use(self, library: Library, state: int) -> None:
        if self.state != state:
            library.check(library.exec_set_state(self.handle, state or None))
            self.state = state

    def grow(self, framework: Framework, size: int, place: Place) -> None:
        """A CPU's workspace: calls return when they are done, so it can be kept."""
        self._memory, self.address = framework.memory(size, place)
        self.bytes = size


class Outputs(dict):  # type: ignore[type-arg]
    """Arrays by output's name: ``out["logits"]``, or ``out.logits``."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(
                f"there is no output {name!r}: there is {', '.join(self)}"
            ) from None
