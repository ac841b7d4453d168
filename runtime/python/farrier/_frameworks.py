"""
What a call asks of an array library. Each is imported only once an array of it was given, or it was
asked for by name.

A call asks for the arrays' layout (hashable: equal layouts have equal shapes, dtypes and devices) and
addresses; everything else about an array is asked only when a layout is new.
"""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any, Callable, Dict, Hashable, List, NamedTuple, Optional, Sequence, Tuple

from ._dtypes import DTYPES, NATURAL, DTypeInfo
from .errors import UNSUPPORTED, error

CPU, CUDA = 1, 2


class Place(NamedTuple):
    """A device, as DLPack numbers it."""

    type: int
    id: int

    def __str__(self) -> str:
        if self.type == CPU:
            return "cpu"
        return f"cuda:{self.id}" if self.type == CUDA else f"device {self.type}:{self.id}"


class Array(NamedTuple):
    """An array as the runtime sees it."""

    dtype: DTypeInfo
    shape: Tuple[int, ...]
    place: Place


SPARSE = -1
"""Instead of an address: the array is not dense and row-major."""


class Framework:
    name = ""
    module: Any = None

    def read(self, arrays: Sequence[Any]) -> Tuple[Hashable, List[int]]:
        """Layout of them all, and the address of each; None has none."""
        raise NotImplementedError

    def address(self, array: Any) -> int:
        return self.read([array])[1][0]

    def word(self, array: Any) -> str:
        """Name of its dtype."""
        raise NotImplementedError

    def place(self, array: Any) -> Place:
        raise NotImplementedError

    def dtype_of(self, info: DTypeInfo) -> Any:
        """The framework's dtype for arrays of it: its own, or that of the bits."""
        raise NotImplementedError

    def maker(self, shape: Tuple[int, ...], dtype: Any, place: Place) -> Callable[[], Any]:
        """Makes an array whose elements are undefined."""
        raise NotImplementedError

    def filled(self, shape: Tuple[int, ...], info: DTypeInfo, value: float, place: Place) -> Any:
        raise NotImplementedError

    def memory(self, size: int, place: Place) -> Tuple[Any, int]:
        """A workspace of its allocator: what holds it, and its address, aligned to 256."""
        array = self.maker((size + 255,), self.dtype_of(DTYPES["u8"]), place)()
        return array, self.address(array) + 255 & ~255

    def stream(self, place: Place) -> int:
        """The caller's current stream."""
        return 0

    def capturing(self, place: Place) -> bool:
        """Whether that stream is being recorded."""
        return False

    def is_writable(self, array: Any) -> bool:
        return True

    def describe(self, array: Any, expected: Optional[DTypeInfo] = None) -> Array:
        """`expected` decides what bits are: an array of uint16 is bf16 where that is wanted."""
        word = self.word(array)
        info = NATURAL.get(word)
        if expected is not None and word in (expected.word, expected.plain):
            info = expected
        if info is None:
            raise error("E_TYPE_UNSUPPORTED", f"arrays of {word} are not taken", None, UNSUPPORTED)
        shape = tuple(map(int, array.shape))
        if info.per_byte > 1 and shape:
            shape = (*shape[:-1], shape[-1] * info.per_byte)
        return Array(info, shape, self.place(array))

    def array_shape(self, info: DTypeInfo, shape: Sequence[int]) -> Tuple[int, ...]:
        """Shape of the array that holds a tensor: packed types are bytes."""
        if info.per_byte == 1:
            return tuple(shape)
        if not shape or shape[-1] % info.per_byte:
            raise error(
                "E_TYPE_UNSUPPORTED",
                f"{info.name} of shape {list(shape)} has rows that are not whole bytes",
                None,
                UNSUPPORTED,
            )
        return (*shape[:-1], shape[-1] // info.per_byte)


def _name_of(dtype: Any) -> str:
    """A NumPy dtype by name; another byte order is another type."""
    return str(dtype.name) if dtype.isnative else f"byte-swapped {dtype.name}"


class _ArrayModule(Framework):
    """What NumPy and CuPy have in common."""

    def __init__(self) -> None:
        self.module = importlib.import_module(self.name)
        self._dtypes: Dict[str, Any] = {}

    def word(self, array: Any) -> str:
        return _name_of(array.dtype)

    def dtype_of(self, info: DTypeInfo) -> Any:
        found = self._dtypes.get(info.name)
        if found is None:
            found = self._dtypes[info.name] = self._find(info)
        return found

    def _find(self, info: DTypeInfo) -> Any:
        if info.word == info.plain or info.per_byte > 1:
            return self.module.dtype(info.plain)
        if info.name == "bool":
            return self.module.dtype("bool")
        try:  # bf16 and 8-bit floats: ml_dtypes' where it is installed, otherwise their bits
            dtype = self.module.dtype(getattr(importlib.import_module("ml_dtypes"), info.word))
            self.module.empty(0, dtype)
            return dtype
        except (ImportError, AttributeError, TypeError, ValueError):
            return self.module.dtype(info.plain)

    def _value(self, info: DTypeInfo, value: float) -> Any:
        from ._dtypes import fill_bits

        return value if self.dtype_of(info).name == info.word else fill_bits(info, value)


class NumPy(_ArrayModule):
    name = "numpy"

    def read(self, arrays: Sequence[Any]) -> Tuple[Hashable, List[int]]:
        layout: List[Any] = []
        addresses = []
        for array in arrays:
            if array is None:
                layout.append(None)
                addresses.append(0)
            else:
                layout += array.shape, array.dtype
                addresses.append(array.ctypes.data if array.flags.c_contiguous else SPARSE)
        return tuple(layout), addresses

    def place(self, array: Any) -> Place:
        return Place(CPU, 0)

    def maker(self, shape: Tuple[int, ...], dtype: Any, place: Place) -> Callable[[], Any]:
        return partial(self.module.empty, shape, dtype)

    def filled(self, shape: Tuple[int, ...], info: DTypeInfo, value: float, place: Place) -> Any:
        return self.module.full(
            self.array_shape(info, shape), self._value(info, value), self.dtype_of(info)
        )

    def is_writable(self, array: Any) -> bool:
        return bool(array.flags.writeable)


class CuPy(_ArrayModule):
    name = "cupy"

    def __init__(self) -> None:
        super().__init__()
        self._device = self.module.cuda.Device
        self._stream = self.module.cuda.get_current_stream
        self._runtime = self.module.cuda.runtime

    def read(self, arrays: Sequence[Any]) -> Tuple[Hashable, List[int]]:
        layout: List[Any] = []
        addresses = []
        for array in arrays:
            if array is None:
                layout.append(None)
                addresses.append(0)
            else:
                layout += array.shape, array.dtype, array.device.id
                addresses.append(array.data.ptr if array.flags.c_contiguous else SPARSE)
        return tuple(layout), addresses

    def place(self, array: Any) -> Place:
        return Place(CUDA, int(array.device.id))

    def maker(self, shape: Tuple[int, ...], dtype: Any, place: Place) -> Callable[[], Any]:
        empty, current, device = self.module.empty, self._runtime.getDevice, self._device

        def make() -> Any:
            if current() == place.id:
                return empty(shape, dtype)
            with device(place.id):
                return empty(shape, dtype)

        return make

    def filled(self, shape: Tuple[int, ...], info: DTypeInfo, value: float, place: Place) -> Any:
        with self._device(place.id):
            return self.module.full(
                self.array_shape(info, shape), self._value(info, value), self.dtype_of(info)
            )

    def memory(self, size: int, place: Place) -> Tuple[Any, int]:
        array = self.maker((size,), "u1", place)()  # its allocator aligns to 512
        return array, array.data.ptr

    def stream(self, place: Place) -> int:
        return int(self._stream(place.id).ptr)

    def capturing(self, place: Place) -> bool:
        stream = self.stream(place)
        return stream != 0 and bool(self._runtime.streamIsCapturing(stream))


class PyTorch(Framework):
    name = "torch"

    def __init__(self) -> None:
        self.module = importlib.import_module("torch")
        self._empty = self.module.empty
        self._bytes = self.module.uint8
        self._dtypes = {
            info.name: getattr(self.module, info.word, None)
            or getattr(self.module, info.plain, None)
            for info in DTYPES.values()
        }
        # What torch's own generated code asks; the public way makes an object of the stream.
        self._raw_stream = getattr(self.module._C, "_cuda_getCurrentRawStream", None)
        self._devices: Dict[Place, Any] = {}

    def read(self, arrays: Sequence[Any]) -> Tuple[Hashable, List[int]]:
        layout: List[Any] = []
        addresses = []
        for array in arrays:
            if array is None:
                layout.append(None)
                addresses.append(0)
            else:
                layout += array.shape, array.dtype, array.device
                addresses.append(array.data_ptr() if array.is_contiguous() else SPARSE)
        return tuple(layout), addresses

    def word(self, array: Any) -> str:
        if array.layout is not self.module.strided:
            raise error("E_RT_INPUT", f"a tensor has the layout {array.layout}", "give a dense one")
        return str(array.dtype).rpartition(".")[2]

    def place(self, array: Any) -> Place:
        device = array.device
        if device.type == "cpu":
            return Place(CPU, 0)
        if device.type == "cuda":
            return Place(CUDA, device.index or 0)
        raise error("E_RT_INPUT", f"a tensor is on {device}", "farrier runs on cpu and cuda")

    def dtype_of(self, info: DTypeInfo) -> Any:
        found = self._dtypes[info.name]
        if found is None:
            raise error("E_TYPE_UNSUPPORTED", f"this PyTorch has no {info.word}", None, UNSUPPORTED)
        return found

    def device(self, place: Place) -> Any:
        found = self._devices.get(place)
        if found is None:
            found = self._devices[place] = self.module.device(str(place))
        return found

    def maker(self, shape: Tuple[int, ...], dtype: Any, place: Place) -> Callable[[], Any]:
        strides = [1] * len(shape)
        for i in range(len(shape) - 1, 0, -1):
            strides[i - 1] = strides[i] * max(1, shape[i])
        # Half the time of torch.empty.
        return partial(
            self.module.empty_strided, shape, strides, dtype=dtype, device=self.device(place)
        )

    def filled(self, shape: Tuple[int, ...], info: DTypeInfo, value: float, place: Place) -> Any:
        torch, dtype, device = self.module, self.dtype_of(info), self.device(place)
        shape = self.array_shape(info, shape)
        if info.per_byte > 1:
            return torch.full(shape, int(value), dtype=torch.uint8, device=device).view(dtype)
        return torch.full(shape, value, dtype=torch.float64, device=device).to(dtype)

    def memory(self, size: int, place: Place) -> Tuple[Any, int]:
        if place.type != CUDA:
            return super().memory(size, place)
        array = self._empty((size,), dtype=self._bytes, device=self.device(place))  # aligned to 512
        return array, array.data_ptr()

    def stream(self, place: Place) -> int:
        if place.type != CUDA:
            return 0
        if self._raw_stream is not None:
            return self._raw_stream(place.id)
        return self.module.cuda.current_stream(place.id).cuda_stream

    def capturing(self, place: Place) -> bool:
        return place.type == CUDA and self.module.cuda.is_current_stream_capturing()
