"""libfarrier.so: where it is, and farrier.h's structs and functions as ctypes sees them."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from ctypes import POINTER, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint8
from ctypes import c_uint16, c_uint32, c_uint64, c_void_p
from typing import Any, List, Optional

from .errors import UNSUPPORTED, FarrierError, error, quoted

ABI = 1
NAME = "libfarrier.dylib" if sys.platform == "darwin" else "libfarrier.so"


class DType(ctypes.Structure):
    _fields_ = [("code", c_uint8), ("bits", c_uint8), ("lanes", c_uint16)]


class Device(ctypes.Structure):
    _fields_ = [("type", c_int32), ("id", c_int32)]


class Tensor(ctypes.Structure):
    """DLTensor. Addresses are plain integers, so that setting one makes no object."""

    _fields_ = [
        ("data", c_void_p),
        ("device", Device),
        ("ndim", c_int32),
        ("dtype", DType),
        ("shape", c_void_p),
        ("strides", c_void_p),
        ("byte_offset", c_uint64),
    ]


class Shape(ctypes.Structure):
    _fields_ = [("dtype", DType), ("ndim", c_int32), ("dims", c_int64 * 8), ("bytes", c_uint64)]


class NamedTensor(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("tensor", POINTER(Tensor))]


class OpenOptions(ctypes.Structure):
    _fields_ = [("size", c_uint32), ("flags", c_uint32)]


Progress = ctypes.CFUNCTYPE(c_int, c_void_p, c_uint64, c_uint64)


class BindOptions(ctypes.Structure):
    _fields_ = [
        ("size", c_uint32),
        ("reserved", c_uint32),
        ("reference_dir", c_char_p),
        ("progress", Progress),
        ("user", c_void_p),
        ("tensors", POINTER(NamedTensor)),
        ("n_tensors", c_size_t),
    ]


# Handles and addresses are integers (c_void_p takes them); results come through byref.
_out = c_void_p
_functions = {
    "bundle_open": [c_char_p, c_void_p, _out],
    "bundle_release": [c_void_p],
    "bundle_describe": [c_void_p, _out, _out],
    "infer_shapes": [c_void_p, c_char_p, c_void_p, c_size_t, _out, _out],
    "device_open": [c_int32, c_int32, _out],
    "device_release": [c_void_p],
    "device_describe": [c_void_p, _out, _out],
    "device_alloc": [c_void_p, c_size_t, _out],
    "device_free": [c_void_p, c_void_p],
    "device_copy_in": [c_void_p, c_void_p, c_void_p, c_size_t, c_void_p],
    "device_copy_out": [c_void_p, c_void_p, c_void_p, c_size_t, c_void_p],
    "stream_create": [c_void_p, _out],
    "stream_destroy": [c_void_p, c_void_p],
    "stream_sync": [c_void_p, c_void_p],
    "weights_bind": [c_void_p, c_void_p, c_void_p, _out],
    "weights_release": [c_void_p],
    "weights_info": [c_void_p, _out, _out],
    "weights_notice": [c_void_p, _out],
    "state_create": [c_void_p, _out],
    "state_bind": [c_void_p, c_void_p, c_size_t, _out],
    "state_release": [c_void_p],
    "state_reset": [c_void_p, c_void_p],
    "state_data": [c_void_p, c_size_t, _out, _out],
    "exec_create": [c_void_p, c_char_p, c_void_p, _out],
    "exec_set_state": [c_void_p, c_void_p],
    "exec_release": [c_void_p],
    "exec_workspace": [c_void_p, c_void_p, c_size_t, _out, _out],
    "exec_status": [c_void_p],
    "exec_profile": [
        c_void_p,
        c_void_p,
        c_size_t,
        c_void_p,
        c_size_t,
        c_void_p,
        c_uint64,
        c_void_p,
        c_void_p,
    ],
    "run": [c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, c_void_p, c_uint64, c_void_p],
    "graph_capture": [c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, c_void_p, c_uint64, _out],
    "graph_launch": [c_void_p, c_void_p],
    "graph_release": [c_void_p],
}


def _places() -> List[str]:
    """Where the library may be: beside this file, then in the checkout that this file is in."""
    here = os.path.dirname(os.path.abspath(__file__))
    checkout = os.path.dirname(os.path.dirname(os.path.dirname(here)))
    return [os.path.join(here, NAME), os.path.join(checkout, "build", "Release", NAME)]


def _open() -> ctypes.CDLL:
    named = os.environ.get("FARRIER_LIBRARY")
    if named:
        try:
            return ctypes.CDLL(os.path.abspath(named))
        except OSError as cause:
            raise _absent(
                f"FARRIER_LIBRARY is {quoted(named)}, which cannot be loaded: {cause}"
            ) from cause
    for place in _places():
        if os.path.exists(place):
            try:
                return ctypes.CDLL(place)
            except OSError as cause:
                raise _absent(f"{place} cannot be loaded: {cause}") from cause
    try:
        return ctypes.CDLL(NAME)
    except OSError as cause:
        raise _absent(f"{NAME} is neither beside the package nor known to the system") from cause


def _absent(what: str) -> FarrierError:
    hint = "run `npm run build` in farrier's checkout, or set FARRIER_LIBRARY to the library's path"
    return error("E_NO_ADDON", what, hint, UNSUPPORTED)


class Library:
    """The functions of farrier.h without their prefix; those that return a status are unchecked."""

    def __init__(self) -> None:
        loaded = _open()
        try:
            abi = loaded.farrier_abi_version()
            if abi != ABI:
                raise _absent(f"{loaded._name} has ABI {abi}, expected {ABI}")
            for name, types in _functions.items():
                function = getattr(loaded, f"farrier_{name}")
                function.argtypes = types
                function.restype = c_int
                setattr(self, name, function)
            for name in ("last_error", "last_code", "machine", "isa"):
                function = getattr(loaded, f"farrier_{name}")
                function.restype = c_char_p
                setattr(self, name, function)
        except AttributeError as cause:
            raise _absent(f"{loaded._name} is no libfarrier of this version: {cause}") from cause
        self.path: str = loaded._name
        self._loaded = loaded

    def __getattr__(self, name: str) -> Any:  # for type checkers: __init__ sets what there is
        raise AttributeError(name)

    def failure(self, status: int) -> FarrierError:
        """The last failed call of this thread."""
        text = self.last_error().decode("utf-8", "replace")
        return FarrierError(self.last_code().decode(), text, status)

    def check(self, status: int) -> None:
        if status:
            raise self.failure(status)

    def handle(self, function: Any, *arguments: Any) -> int:
        """What a function writes to its last parameter, a handle or an address."""
        out = c_void_p()
        self.check(function(*arguments, ctypes.byref(out)))
        return out.value or 0

    def text(self, function: Any, handle: int) -> str:
        """The JSON of a `describe` function."""
        json, size = c_char_p(), c_size_t()
        self.check(function(handle, ctypes.byref(json), ctypes.byref(size)))
        return ctypes.string_at(json, size.value).decode("utf-8")


_library: Optional[Library] = None
_lock = threading.Lock()


def library() -> Library:
    """The library, loaded once. E_NO_ADDON."""
    global _library
    if _library is None:
        with _lock:
            if _library is None:
                _library = Library()
    return _library
