"""A call recorded as one graph of the GPU."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Mapping, Optional

from ._calls import Exec, Outputs
from .errors import UNSUPPORTED, error

if TYPE_CHECKING:
    from ._entry import Entry
    from .state import State


class Recording:
    """Made by ``entry.record``. Holds the arrays that it was made with: write inputs into them."""

    def __init__(
        self,
        entry: "Entry",
        inputs: Mapping[str, Any],
        state: "Optional[State]",
        out: Optional[Mapping[str, Any]],
    ) -> None:
        library = entry._library
        framework, values, addresses, shaped = entry._prepare(inputs)
        if framework.name == "numpy" and not entry._on_cpu:
            raise error(
                "E_UNSUPPORTED",
                "host arrays cannot be recorded",
                "give arrays on the GPU",
                UNSUPPORTED,
            )
        outputs = entry._outputs(framework, shaped, out or {})
        self.entry = entry
        self._library, self._place = library, entry._place
        self._stream = framework.stream
        frame = shaped.frame()
        entry._write(frame, addresses, framework.read(outputs)[1])
        memory, at = (
            framework.memory(shaped.workspace, entry._place) if shaped.workspace else (None, 0)
        )
        execution = Exec(
            library.handle(library.exec_create, entry.model._weights, entry.name.encode(), None)
        )
        weakref.finalize(self, library.exec_release, execution.handle)
        execution.use(library, 0 if state is None else state.handle)
        self._kept = (frame, values, memory, state, execution)
        self._exec = execution.handle
        self.inputs = dict(zip(entry._names, values))
        self.outputs = Outputs(zip(entry._out_names, outputs))
        self._graph = library.handle(
            library.graph_capture,
            execution.handle,
            frame.inputs,
            len(values),
            frame.outputs,
            len(outputs),
            at or None,
            shaped.workspace,
        )
        self._launch = library.graph_launch
        self.close = weakref.finalize(self, library.graph_release, self._graph)
        """Frees the graph; it is also freed with this object."""

    def __call__(self) -> Outputs:
        """Launches it on the caller's current stream."""
        status = self._launch(self._graph, self._stream(self._place) or None)
        if status:
            raise self._library.failure(status)
        return self.outputs

    def check(self) -> None:
        """Waits for the last launch. E_RT_INDEX if a kernel reported a failed check in it."""
        self._library.check(self._library.exec_status(self._exec))

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
