"""An entry of a bundle: the path of a call."""

from __future__ import annotations

import ctypes
import threading
from typing import TYPE_CHECKING, Any, Dict, Hashable, List, Mapping, Optional, Sequence, Tuple

from ._calls import Exec, Frame, Outputs, Shaped
from ._description import EntryInfo, TensorInfo
from ._frameworks import CPU, SPARSE, Array, Framework, Place
from ._library import Shape
from ._registry import adopt, by_type, framework_named
from ._staging import run_staged
from .errors import error, quoted

if TYPE_CHECKING:
    from ._recording import Recording
    from .model import Model
    from .state import State

MAX_SHAPES = 256
"""Shapes of which an entry keeps descriptors."""


class Entry:
    """One entry of a model, ``model.entry("decode")``: call it with arrays by input's name."""

    def __init__(self, model: "Model", info: EntryInfo) -> None:
        self.model = model
        self.info = info
        self.name = info.name
        self._library = model._library
        self._names = [tensor.name for tensor in info.inputs]
        self._out_names = [tensor.name for tensor in info.outputs]
        self._place: Place = model.place
        self._on_cpu = model.place.type == CPU
        self._shaped: Dict[Hashable, Shaped] = {}
        self._idle: List[Exec] = []
        self._kept: List[Any] = []
        self._lock = threading.Lock()
        # Making one may allocate on the device, which must not happen while a stream is recorded.
        self._idle.append(self._make_exec())

    @property
    def inputs(self) -> Sequence[TensorInfo]:
        return self.info.inputs

    @property
    def outputs(self) -> Sequence[TensorInfo]:
        return self.info.outputs

    @property
    def uses_state(self) -> bool:
        return self.model.description.uses_state(self.model.target, self.name)

    def __repr__(self) -> str:
        return (
            f"<farrier entry {self.name}({', '.join(self._names)}) -> {', '.join(self._out_names)}>"
        )

    def __call__(
        self,
        *arrays: Any,
        state: "Optional[State]" = None,
        out: Optional[Mapping[str, Any]] = None,
        **inputs: Any,
    ) -> Outputs:
        """Arrays by input's name, or in the entry's order. `out`: arrays to write outputs to."""
        if arrays:
            inputs = self._positional(arrays, inputs)
        return self.run(inputs, state=state, out=out)

    def run(
        self,
        inputs: Mapping[str, Any],
        *,
        state: "Optional[State]" = None,
        out: Optional[Mapping[str, Any]] = None,
    ) -> Outputs:
        """The same with the inputs in a mapping, whatever their names are."""
        framework, values, addresses, shaped = self._prepare(inputs)
        if framework.name == "numpy" and not self._on_cpu:
            return run_staged(self, framework, values, addresses, shaped, state, out)
        if out is None:
            outputs = [make() for make in shaped.make]
        else:
            outputs = self._outputs(framework, shaped, out)
        held = None if state is None else state.arrays  # though another thread closes it
        library, place, size = self._library, self._place, shaped.workspace
        frame, execution = shaped.frame(), self._take()
        try:
            self._write(frame, addresses, framework.read(outputs)[1])
            execution.use(library, 0 if state is None else state.handle)
            if self._on_cpu:
                if size > execution.bytes:
                    execution.grow(framework, size, place)
                at, stream = execution.address, 0
            else:
                stream = framework.stream(place)
                memory, at = framework.memory(size, place) if size else (None, 0)
                if framework.name == "cupy" and memory is not None and framework.capturing(place):
                    self._kept.append(
                        memory
                    )  # torch gives a recorded graph memory of its own; CuPy does not
            status = library.run(
                execution.handle,
                frame.inputs,
                len(values),
                frame.outputs,
                len(outputs),
                at,
                size,
                stream,
            )
            if status:
                raise library.failure(status)
        finally:
            shaped.frames.append(frame)
            self._idle.append(execution)
            del held
        return Outputs(zip(self._out_names, outputs))

    def record(
        self,
        *arrays: Any,
        state: "Optional[State]" = None,
        out: Optional[Mapping[str, Any]] = None,
        **inputs: Any,
    ) -> "Recording":
        """
        CUDA: records a call with these very arrays as one graph, without running it. Calling what is
        returned runs it on what is in the arrays then, and gives the same output arrays each time.
        """
        from ._recording import Recording

        return Recording(self, self._positional(arrays, inputs) if arrays else inputs, state, out)

    def infer_shapes(self, **inputs: Any) -> Dict[str, Tuple[Tuple[int, ...], str]]:
        """Shape and dtype (farrier's name) of each output, from arrays or from shapes of inputs."""
        self._known(inputs)
        arrays: List[Optional[Array]] = []
        for tensor in self.info.inputs:
            value = inputs.get(tensor.name)
            shape = None if value is None else tuple(getattr(value, "shape", value))
            arrays.append(None if shape is None else Array(tensor.info, shape, self._place))
        _, outputs = self._infer(arrays)
        return {t.name: (shape, t.dtype) for t, shape in zip(self.info.outputs, outputs)}

    # ---- parts ---------------------------------------------------------------------------------

    def _positional(self, arrays: Sequence[Any], inputs: Dict[str, Any]) -> Dict[str, Any]:
        if len(arrays) > len(self._names):
            raise error(
                "E_RT_INPUT",
                f"entry {quoted(self.name)} has {len(self._names)} inputs, {len(arrays)} were given",
            )
        for name, array in zip(self._names, arrays):
            if name in inputs:
                raise error("E_RT_INPUT", f"input {quoted(name)} was given twice")
            inputs[name] = array
        return inputs

    def _known(self, inputs: Mapping[str, Any]) -> None:
        for name in inputs:
            if name not in self._names:
                raise error(
                    "E_RT_INPUT",
                    f"entry {quoted(self.name)} has no input {quoted(name)}",
                    f"it has {', '.join(self._names)}",
                )

    def _prepare(
        self, inputs: Mapping[str, Any]
    ) -> Tuple[Framework, Sequence[Any], Sequence[int], Shaped]:
        """The framework, the arrays in the entry's order, their addresses, what such calls share."""
        self.model._check_open()
        values: List[Any] = [inputs.get(name) for name in self._names]
        given = [value for value in values if value is not None]
        kinds = set(map(by_type.get, map(type, given)))
        framework = kinds.pop() if len(kinds) == 1 else None
        if framework is None or len(given) != len(inputs):
            framework, values = self._complete(inputs)
        try:
            layout, addresses = framework.read(values)
        except (
            RuntimeError,
            TypeError,
            NotImplementedError,
        ) as cause:  # a sparse tensor, one of a tracer
            raise error(
                "E_RT_INPUT",
                f"an input of entry {quoted(self.name)} has no memory that can be read, as dense tensors have: {cause}",
            ) from cause
        shaped = self._shaped.get(layout)
        if shaped is None:
            self._check_given(values)
            shaped = self._shape(framework, values)
            if not framework.capturing(
                self._place
            ):  # what is made then has its values only when the graph runs
                with self._lock:
                    while len(self._shaped) >= MAX_SHAPES:
                        del self._shaped[next(iter(self._shaped))]
                    self._shaped[layout] = shaped
        if shaped.fills:
            values = [fill if value is None else value for value, fill in zip(values, shaped.fills)]
            addresses = [at or fill for at, fill in zip(addresses, shaped.fill_addresses)]
        return framework, values, addresses, shaped

    def _complete(self, inputs: Mapping[str, Any]) -> Tuple[Framework, List[Any]]:
        self._known(inputs)
        values = [inputs.get(name) for name in self._names]
        self._check_given(values)
        if not values:
            return framework_named("numpy" if self._on_cpu else "torch"), values
        return adopt(values, self._names)

    def _check_given(self, values: Sequence[Any]) -> None:
        for tensor, value in zip(self.info.inputs, values):
            if value is None and tensor.fill is None:
                raise error("E_RT_INPUT", f"input {quoted(tensor.name)} is absent")

    def _shape(self, framework: Framework, values: Sequence[Any]) -> Shaped:
        given: List[Optional[Array]] = []
        staged = framework.name == "numpy" and not self._on_cpu
        for tensor, value in zip(self.info.inputs, values):
            if value is None:
                given.append(None)
                continue
            array = framework.describe(value, tensor.info)
            if array.place != self._place and not staged:
                raise error(
                    "E_RT_INPUT",
                    f"input {quoted(tensor.name)} is on {array.place}, the model on {self._place}",
                    "copy it to that device, or load the model there",
                )
            given.append(array._replace(place=self._place))
        shapes, out_shapes = self._infer(given)
        inputs, fills = [], []
        for tensor, known, shape in zip(self.info.inputs, given, shapes):
            inputs.append(known or Array(tensor.info, shape, self._place))
            fills.append(
                None
                if known
                else framework.filled(shape, tensor.info, tensor.fill or 0, self._place)
            )
        outputs = [
            Array(t.info, shape, self._place) for t, shape in zip(self.info.outputs, out_shapes)
        ]
        make = [
            framework.maker(
                framework.array_shape(a.dtype, a.shape), framework.dtype_of(a.dtype), self._place
            )
            for a in outputs
        ]
        used = fills if None in given else []
        addresses = framework.read(used)[1]
        return Shaped(inputs, outputs, make, used, addresses, self._workspace(inputs))

    def _infer(
        self, given: Sequence[Optional[Array]]
    ) -> Tuple[List[Tuple[int, ...]], List[Tuple[int, ...]]]:
        frame = Frame([a for a in given if a is not None], 0)
        tensors = iter(frame.tensors)
        pointers = (ctypes.c_void_p * max(1, len(given)))(
            *(None if a is None else ctypes.addressof(next(tensors)) for a in given)
        )
        inputs = (Shape * max(1, len(self.info.inputs)))()
        outputs = (Shape * max(1, len(self.info.outputs)))()
        self._library.check(
            self._library.infer_shapes(
                self.model._bundle,
                self.name.encode(),
                ctypes.addressof(pointers),
                len(given),
                ctypes.addressof(inputs),
                ctypes.addressof(outputs),
            )
        )
        dims = lambda shapes, n: [tuple(s.dims[: s.ndim]) for s in shapes[:n]]
        return dims(inputs, len(self.info.inputs)), dims(outputs, len(self.info.outputs))

    def _workspace(self, inputs: Sequence[Array]) -> int:
        frame, size, execution = Frame(inputs, len(inputs)), ctypes.c_uint64(), self._take()
        try:
            self._library.check(
                self._library.exec_workspace(
                    execution.handle, frame.inputs, len(inputs), None, ctypes.addressof(size)
                )
            )
        finally:
            self._idle.append(execution)
        return size.value

    def _outputs(self, framework: Framework, shaped: Shaped, out: Mapping[str, Any]) -> List[Any]:
        for name in out:
            if name not in self._out_names:
                raise error(
                    "E_RT_INPUT",
                    f"entry {quoted(self.name)} has no output {quoted(name)}",
                    f"it has {', '.join(self._out_names)}",
                )
        arrays = []
        for i, (name, make) in enumerate(zip(self._out_names, shaped.make)):
            array = out.get(name)
            if array is None:
                array = make()
            else:
                self._check_output(framework, name, array, shaped.arrays[shaped.n_inputs + i])
            arrays.append(array)
        return arrays

    def _check_output(self, framework: Framework, name: str, array: Any, wanted: Array) -> None:
        if by_type.get(type(array)) is not framework:
            raise error(
                "E_RT_INPUT",
                f"output {quoted(name)} is no array of {framework.name}, as the inputs are",
            )
        found = framework.describe(array, wanted.dtype)
        if found.place != wanted.place and not (framework.name == "numpy"):
            raise error(
                "E_RT_INPUT",
                f"output {quoted(name)} is on {found.place}, the model on {wanted.place}",
            )
        if found[:2] != wanted[:2]:
            raise error(
                "E_RT_INPUT",
                f"output {quoted(name)} is {found.dtype.name}{list(found.shape)}, "
                f"expected {wanted.dtype.name}{list(wanted.shape)}",
            )
        if not framework.is_writable(array):
            raise error("E_RT_INPUT", f"output {quoted(name)} is read-only")

    def _write(self, frame: Frame, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        """Writes the arrays' addresses into the descriptors."""
        addresses = [*inputs, *outputs]
        for tensor, at in zip(frame.tensors, addresses):
            tensor.data = at
        if SPARSE in addresses:
            i = addresses.index(SPARSE)
            what = "input" if i < len(inputs) else "output"
            raise error(
                "E_RT_INPUT",
                f"{what} {quoted((self._names + self._out_names)[i])} is not dense and row-major",
                "copy it to a contiguous array",
            )

    def _make_exec(self) -> Exec:
        handle = self._library.handle(
            self._library.exec_create, self.model._weights, self.name.encode(), None
        )
        return self.model._owned.exec(Exec(handle))

    def _take(self) -> Exec:
        try:
            return self._idle.pop()
        except IndexError:
            return self._make_exec()

    def _drop_state(self, handle: int) -> None:
        for execution in list(self._idle):
            if execution.state == handle:
                self._library.exec_set_state(execution.handle, None)
                execution.state = 0
