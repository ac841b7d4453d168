"""A bundle on a device: ``farrier.load(dir)(input_ids=ids)``."""

from __future__ import annotations

import ctypes
import json
import os
import re
import sys
import threading
import warnings
import weakref
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from ._calls import Exec, Frame, Outputs
from ._description import Description, EntryInfo, StateInfo, SymbolInfo, TensorInfo, sources_by_name
from ._dtypes import dtype_named
from ._entry import Entry
from ._frameworks import CPU, CUDA, SPARSE, Place
from ._library import BindOptions, Library, NamedTensor, OpenOptions, Progress, library
from ._registry import framework_of
from .errors import error, quoted
from .state import State


def parse_device(name: str) -> Place:
    match = re.fullmatch(r"(cpu|cuda)(?::(\d{1,4}))?", name)
    if match is None:
        raise error("E_DEVICE_NAME", f"device {quoted(name)}", "give cpu, cuda or cuda:N")
    if match[1] == "cpu":
        return Place(CPU, 0)
    if match[2] is not None:
        return Place(CUDA, int(match[2]))
    torch, cupy = sys.modules.get("torch"), sys.modules.get("cupy")
    if torch is not None and torch.cuda.is_available():
        return Place(CUDA, torch.cuda.current_device())
    return Place(CUDA, cupy.cuda.runtime.getDevice() if cupy is not None else 0)


class Owned:
    """Handles that go with a model, or with whoever outlives it; freed once, in whatever order."""

    def __init__(self, lib: Library) -> None:
        self._library = lib
        self._handles: List[Any] = []
        self._lock = threading.Lock()
        self.execs: List[Exec] = []
        self.closed = False

    def add(self, release: Callable[[int], int], handle: int) -> int:
        with self._lock:
            if not self.closed:
                self._handles.append((release, handle))
                return handle
        release(handle)
        raise error("E_RT_HANDLE", "the model is closed", "load it again")

    def exec(self, made: Exec) -> Exec:
        self.add(self._library.exec_release, made.handle)
        self.execs.append(made)
        return made

    def release_state(self, handle: int) -> None:
        self._library.state_release(handle)

    def close(self) -> None:
        with self._lock:
            self.closed = True
            handles, self._handles = self._handles, []
        for made in self.execs:
            self._library.exec_status(made.handle)  # waits for what is in flight
        for release, handle in reversed(handles):
            release(handle)


class Model:
    """Made by :func:`farrier.load`. Threads may call it at once; a state is for one call at a time."""

    def __init__(
        self,
        path: str,
        device: Optional[str],
        allow_native: bool,
        verify_all: bool,
        reference_dir: Optional[str],
        weights: Optional[Mapping[str, Any]],
        on_progress: Optional[Callable[[int, int], object]],
    ) -> None:
        self._library = lib = library()
        self._owned = Owned(lib)
        self.close = weakref.finalize(self, self._owned.close)
        """Waits for what is in flight and frees everything; what comes later fails: E_RT_HANDLE."""
        self.path = path
        options = OpenOptions(
            ctypes.sizeof(OpenOptions), (1 if allow_native else 0) | (2 if verify_all else 0)
        )
        handle = lib.handle(lib.bundle_open, os.fsencode(path), ctypes.addressof(options))
        self._bundle = self._owned.add(lib.bundle_release, handle)
        self.description = Description(json.loads(lib.text(lib.bundle_describe, self._bundle)))
        self.place = parse_device(_device_name(device, self.description, weights))
        self._device = self._owned.add(lib.device_release, lib.handle(lib.device_open, *self.place))
        self.device_info: Mapping[str, Any] = json.loads(
            lib.text(lib.device_describe, self._device)
        )
        self._live: List[Any] = []
        self._weights = self._owned.add(
            lib.weights_release, self._bind(reference_dir, weights, on_progress)
        )
        target, size = ctypes.c_char_p(), ctypes.c_uint64()
        lib.check(lib.weights_info(self._weights, ctypes.byref(target), ctypes.byref(size)))
        self.target: str = (target.value or b"").decode()
        """The bundle's target that runs here, such as ``cpu`` or ``sm_80``."""
        self.weight_bytes: int = size.value
        """Bytes of weights that the runtime holds on the device, without a live model's own tensors."""
        notice = ctypes.c_char_p()
        lib.check(lib.weights_notice(self._weights, ctypes.byref(notice)))
        for line in (notice.value or b"").decode().splitlines():
            warnings.warn(line, stacklevel=3)
        self._stream = 0
        self._lock = threading.Lock()
        self._entries: Dict[str, Entry] = {
            n: Entry(self, info) for n, info in self.description.entries.items()
        }
        self._default = self._entries.get("main") or next(iter(self._entries.values()))

    # ---- what it is ----------------------------------------------------------------------------

    @property
    def device(self) -> str:
        return str(self.place)

    @property
    def entries(self) -> Mapping[str, EntryInfo]:
        return self.description.entries

    @property
    def symbols(self) -> Sequence[SymbolInfo]:
        return self.description.symbols

    @property
    def states(self) -> Sequence[StateInfo]:
        return self.description.states

    @property
    def inputs(self) -> Sequence[TensorInfo]:
        """Of the default entry: ``main``, or the bundle's first."""
        return self._default.inputs

    @property
    def outputs(self) -> Sequence[TensorInfo]:
        return self._default.outputs

    def entry(self, name: Optional[str] = None) -> Entry:
        if name is None:
            return self._default
        found = self._entries.get(name)
        if found is None:
            raise error(
                "E_RT_ENTRY",
                f"the bundle has no entry {quoted(name)}",
                f"it has {', '.join(self._entries)}",
            )
        return found

    def __repr__(self) -> str:
        return f"<farrier model {self.path} on {self.device}: {', '.join(self._entries)}>"

    # ---- running -------------------------------------------------------------------------------

    def __call__(
        self,
        *arrays: Any,
        entry: Optional[str] = None,
        state: Optional[State] = None,
        out: Optional[Mapping[str, Any]] = None,
        **inputs: Any,
    ) -> Outputs:
        """
        Arrays of PyTorch, NumPy or CuPy by input's name, or in the entry's order; returns arrays of the
        same framework and device by output's name. On CUDA the work is in the caller's current stream
        when it returns.
        """
        return self.entry(entry)(*arrays, state=state, out=out, **inputs)

    def run(
        self,
        inputs: Mapping[str, Any],
        *,
        entry: Optional[str] = None,
        state: Optional[State] = None,
        out: Optional[Mapping[str, Any]] = None,
    ) -> Outputs:
        """The same with the inputs in a mapping: for names such as ``state``."""
        return self.entry(entry).run(inputs, state=state, out=out)

    def create_state(
        self, framework: Optional[str] = None, arrays: Optional[Sequence[Any]] = None
    ) -> State:
        """
        Memory for one batch of sequences. `framework`: whose allocator, ``torch``, ``numpy``, ``cupy`` or
        ``runtime``; by default the one that is imported. `arrays`: the caller's own, in the order of
        `states`, used as they are.
        """
        self._check_open()
        if arrays is not None and framework is None and arrays:
            found = framework_of(type(arrays[0]))
            framework = found.name if found is not None else None
        return State(self, framework, arrays)

    def synchronize(self) -> None:
        """Waits for calls that were made. CUDA: E_RT_INDEX if a kernel reported a failed check."""
        self._check_open()
        for entry in self._entries.values():
            for made in list(entry._idle):
                self._library.check(self._library.exec_status(made.handle))

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        return self._owned.closed

    # ---- parts ---------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._owned.closed:
            raise error("E_RT_HANDLE", "the model is closed", "load it again")

    def _own_stream(self) -> int:
        """For host arrays on a GPU."""
        with self._lock:
            if not self._stream:
                device, lib = self._device, self._library
                stream = lib.handle(lib.stream_create, device)
                self._stream = self._owned.add(lambda s: lib.stream_destroy(device, s), stream)
            return self._stream

    def _drop_state(self, handle: int) -> None:
        for entry in self._entries.values():
            entry._drop_state(handle)

    def _bind(
        self,
        reference_dir: Optional[str],
        weights: Optional[Mapping[str, Any]],
        on_progress: Optional[Callable[[int, int], object]],
    ) -> int:
        raised: List[BaseException] = []

        def progress(_: Any, done: int, total: int) -> int:
            try:
                on_progress(done, total)  # type: ignore[misc]
                return 0
            except BaseException as failure:  # it may not cross C
                raised.append(failure)
                return 1

        options = BindOptions(ctypes.sizeof(BindOptions), 0)
        options.reference_dir = None if reference_dir is None else os.fsencode(reference_dir)
        if on_progress is not None:
            options.progress = Progress(progress)
        kept = self._live_tensors(weights, options) if weights is not None else None
        lib = self._library
        try:
            handle = lib.handle(
                lib.weights_bind, self._bundle, self._device, ctypes.addressof(options)
            )
        except Exception:
            if raised:
                raise raised[0] from None
            raise
        del kept
        return handle

    def _live_tensors(self, weights: Mapping[str, Any], options: BindOptions) -> Any:
        """A live model's tensors as the plan's sources: borrowed, so `_live` keeps them."""
        found = sources_by_name(self.description.plan, list(weights))
        if not found and self.description.plan["sources"]:
            names = [
                s["name"] for s in self.description.plan["sources"] if s["from"]["kind"] == "none"
            ]
            if not names:
                raise error(
                    "E_WEIGHTS",
                    "the bundle has weights of its own",
                    "compile it with --weights none",
                )
            raise error(
                "E_WEIGHTS",
                f"none of the tensors given has a name of the bundle, such as {quoted(names[0])}",
            )
        dtypes = {source["name"]: source["dtype"] for source in self.description.plan["sources"]}
        arrays, described, frameworks = [], [], {}
        for source, name in found.items():
            array = weights[name]
            framework = framework_of(type(array))
            if framework is None:
                raise error(
                    "E_WEIGHTS", f"tensor {quoted(name)} is {type(array).__name__}, not an array"
                )
            arrays.append((source, framework, array))
            described.append(framework.describe(array, dtype_named(dtypes[source])))
            frameworks[framework.name] = framework
        frame = Frame(described, len(described))
        named = (NamedTensor * max(1, len(arrays)))()
        for entry, tensor, (source, framework, array) in zip(named, frame.tensors, arrays):
            tensor.data = at = framework.address(array)
            if at == SPARSE:
                raise error(
                    "E_WEIGHTS",
                    f"tensor {quoted(source)} is not dense and row-major",
                    "give a contiguous copy",
                )
            entry.name, entry.tensor = source.encode(), ctypes.pointer(tensor)
        options.tensors, options.n_tensors = named, len(arrays)
        if self.place.type == CUDA:
            for framework in frameworks.values():  # what writes them is done before they are read
                self._library.check(
                    self._library.stream_sync(self._device, framework.stream(self.place) or None)
                )
        self._live = [array for _, _, array in arrays]
        return frame, named


def _device_name(
    device: Any, description: Description, weights: Optional[Mapping[str, Any]]
) -> str:
    """Default: where the live weights are; a GPU if the bundle is for nothing else; the CPU."""
    if device is not None:
        return str(device)
    for array in (weights or {}).values():
        framework = framework_of(type(array))
        if framework is not None:
            return str(framework.place(array))
    targets = description.manifest["targets"]
    return "cpu" if "cpu" in targets or not targets else "cuda"
