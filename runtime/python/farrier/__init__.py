"""
farrier's runtime from Python.

    import farrier

    model = farrier.load("model.farrier")
    logits = model(input_ids=ids).logits

Arrays are of PyTorch, NumPy or CuPy; results are of the same framework, on the same device. Failures are
FarrierError.
"""

from __future__ import annotations

import json
import os
from typing import Any, Callable, Dict, List, Mapping, Optional, Union

from ._calls import Outputs
from ._description import EntryInfo, StateInfo, SymbolInfo, TensorInfo
from ._entry import Entry
from ._library import library
from ._recording import Recording
from .errors import FarrierError
from .model import Model
from .state import State

__version__ = "0.1.0"
__all__ = [
    "Entry",
    "EntryInfo",
    "FarrierError",
    "Model",
    "Outputs",
    "Recording",
    "State",
    "StateInfo",
    "SymbolInfo",
    "TensorInfo",
    "devices",
    "library_path",
    "load",
    "machine",
]


def load(
    path: Union[str, "os.PathLike[str]"],
    device: Any = None,
    *,
    weights: Optional[Mapping[str, Any]] = None,
    reference_dir: Union[str, "os.PathLike[str]", None] = None,
    allow_native: bool = False,
    verify_all: bool = False,
    on_progress: Optional[Callable[[int, int], object]] = None,
) -> Model:
    """
    Opens the bundle at `path`, loads its kernels and binds its weights.

    device: ``cpu``, ``cuda`` or ``cuda:N``, or a torch.device. Default: where `weights` are; else the CPU,
        unless the bundle is for GPUs only.
    weights: a live model's tensors by name, such as ``model.state_dict()``, for a bundle that was compiled
        with ``--weights none``. On the device they are borrowed, not copied.
    reference_dir: where relative files of ``--weights reference`` are; otherwise the bundle.
    allow_native: load host code of a bundle that was built on another machine.
    verify_all: hash weights before anything else, not as they are read.
    on_progress: called with units done, of all; what it raises cancels.
    """
    return Model(
        os.fspath(path),
        None if device is None else str(device),
        allow_native,
        verify_all,
        None if reference_dir is None else os.fspath(reference_dir),
        weights,
        on_progress,
    )


def devices() -> List[Dict[str, Any]]:
    """What this machine can run on: the CPU, then every GPU."""
    lib, found = library(), []
    for place in [(1, 0), *((2, i) for i in range(64))]:
        try:
            handle = lib.handle(lib.device_open, *place)
        except FarrierError:
            break
        try:
            found.append(json.loads(lib.text(lib.device_describe, handle)))
        finally:
            lib.device_release(handle)
    return found


def machine() -> str:
    """Fingerprint of this machine, for a bundle's manifest."""
    return str(library().machine().decode())


def library_path() -> str:
    """The libfarrier.so that is in use."""
    return library().path
