"""Persistent tensors of one batch of sequences: a KV cache."""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence

from ._calls import Frame
from ._dtypes import dtype_named
from ._frameworks import CPU, SPARSE, Framework
from ._registry import framework_named
from .errors import error

if TYPE_CHECKING:
    from .model import Model


class State:
    """
    Made by ``model.create_state()``, zero at first. Its memory is of the framework's allocator:
    ``state["cache.0.key"]`` is the tensor itself. One call at a time may use it.
    """

    def __init__(
        self, model: "Model", framework: Optional[str], arrays: Optional[Sequence[Any]] = None
    ) -> None:
        self.model = model
        self._library = model._library
        self.arrays: Dict[str, Any] = {}
        name = framework or _default(model.place.type)
        if arrays is not None:
            handle = self._bind(framework_named(name), list(arrays))
        elif name == "runtime":
            self._framework: Optional[Framework] = None
            handle = self._library.handle(self._library.state_create, model._weights)
        else:
            handle = self._bind(framework_named(name), self._allocate(framework_named(name)))
        self.handle: int = handle
        self._finalizer = weakref.finalize(self, model._owned.release_state, handle)

    def _allocate(self, framework: Framework) -> List[Any]:
        if framework.name == "numpy" and self.model.place.type != CPU:
            raise error(
                "E_OPTION", "NumPy has no memory on a GPU", 'give "torch", "cupy" or "runtime"'
            )
        arrays = []
        for state in self.model.states:
            array = framework.filled(state.shape, dtype_named(state.dtype), 0, self.model.place)
            if framework.name == "numpy" and array.ctypes.data % 16:
                array = _realigned(framework.module, array)  # type: ignore[attr-defined]
            arrays.append(array)
        return arrays

    def _bind(self, framework: Framework, arrays: List[Any]) -> int:
        self._framework = framework
        states = self.model.states
        if len(arrays) != len(states):
            raise error(
                "E_RT_STATE",
                f"the bundle has {len(states)} states, {len(arrays)} arrays were given",
            )
        described = []
        for array, state in zip(arrays, states):
            found = framework.describe(array, dtype_named(state.dtype))
            if found.dtype.name != state.dtype or found.shape != state.shape:
                raise error(
                    "E_RT_STATE",
                    f'state "{state.name}" is {found.dtype.name}{list(found.shape)}, '
                    f"expected {state.dtype}{list(state.shape)}",
                )
            described.append(found)
        frame = Frame(described, len(described))
        for tensor, array, state in zip(frame.tensors, arrays, states):
            tensor.data = at = framework.address(array)
            if at == SPARSE:
                raise error("E_RT_STATE", f'state "{state.name}" is not dense and row-major')
        self.arrays = {state.name: array for state, array in zip(states, arrays)}
        return self._library.handle(
            self._library.state_bind, self.model._weights, frame.inputs, len(arrays)
        )

    def __getitem__(self, name: str) -> Any:
        return self.arrays[name]

    def reset(self) -> None:
        """Zeroes it, on the caller's current stream."""
        stream = self._framework.stream(self.model.place) if self._framework is not None else 0
        self._library.check(self._library.state_reset(self.handle, stream or None))

    def close(self) -> None:
        """Frees it; calls with it fail from then on."""
        self.arrays = {}
        self.model._drop_state(self.handle)
        self._finalizer()

    def __enter__(self) -> "State":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _realigned(numpy: Any, array: Any) -> Any:
    memory = numpy.zeros(array.nbytes + 64, numpy.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)


def _default(device_type: int) -> str:
    """The framework that the program has already; the runtime's own memory where there is none."""
    candidates = ("torch", "numpy") if device_type == CPU else ("torch", "cupy")
    return next((name for name in candidates if name in sys.modules), "runtime")
