"""Entries as operators of PyTorch: torch.compile and torch.export take programs that call them."""

from __future__ import annotations

import functools
import re
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch

from ._description import evaluate
from ._dtypes import dtype_named
from ._entry import Entry
from ._registry import framework_named
from .errors import UNSUPPORTED, error, quoted
from .model import Model
from .state import State

# An operator is there as long as its library object.
_libraries: Dict[str, Any] = {}
# Pairs of an entry and the tensors of a state that an operator remembers.
MAX_STATES = 64


def register(model: Model, name: str, entry: Optional[str] = None) -> Any:
    """
    Makes ``torch.ops.NAMESPACE.NAME`` of an entry, and returns it. `name` is ``namespace::name``, or a name
    in ``farrier``.

    The operator takes the entry's inputs, then, if the entry uses a state, the state's tensors, which it
    changes (``*state.arrays.values()``), then inputs that may be left out. It returns one tensor, or a tuple. Its fake kernel gives the
    shapes, also symbolic ones. The process keeps the model.
    """
    qualified = name if "::" in name else f"farrier::{name}"
    namespace, _, short = qualified.partition("::")
    if not (namespace.isidentifier() and short.isidentifier()):
        raise error("E_OPTION", f"{quoted(name)} is no operator's name", "give namespace::name")
    if not hasattr(torch.library, "register_fake"):
        raise error(
            "E_UNSUPPORTED",
            f"operators need PyTorch 2.4 or newer, this is {torch.__version__}",
            None,
            UNSUPPORTED,
        )
    if qualified in _libraries or hasattr(getattr(torch.ops, namespace), short):
        raise error("E_OPTION", f"operator {qualified} is there already", "give another name")
    operator = _Operator(model.entry(entry))
    library = torch.library.Library(namespace, "FRAGMENT")
    library.define(f"{short}{operator.schema()}")
    for key in ("CPU", "CUDA"):
        library.impl(short, operator.run, key)
    torch.library.register_fake(qualified, operator.fake, lib=library)
    _libraries[qualified] = library
    return getattr(getattr(torch.ops, namespace), short)


class _Operator:
    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.model = entry.model
        # Inputs that have to be given, the state's tensors, the other inputs.
        self.required = [tensor for tensor in entry.inputs if tensor.fill is None]
        self.optional = [tensor for tensor in entry.inputs if tensor.fill is not None]
        self.n_states = len(self.model.states) if entry.uses_state else 0
        self.states: Dict[Any, State] = {}

    def schema(self) -> str:
        """``(Tensor input_ids, Tensor(a0!) cache_0_key) -> Tensor``."""
        used: Dict[str, int] = {}
        parts = []
        for tensor in self.required:
            parts.append(f"Tensor {_identifier(tensor.name, used)}")
        for i, state in enumerate(self.model.states[: self.n_states]):
            parts.append(f"Tensor(a{i}!) {_identifier(state.name, used)}")
        for tensor in self.optional:
            parts.append(f"Tensor? {_identifier(tensor.name, used)}=None")
        n = len(self.entry.outputs)
        return f"({', '.join(parts)}) -> " + (
            "Tensor" if n == 1 else f"({', '.join(['Tensor'] * n)})"
        )

    def run(self, *arguments: Any) -> Any:
        given, tensors = self.apart(arguments)
        inputs = {
            tensor.name: value.contiguous() for tensor, value in given if value is not None
        }
        state = self.state_of(tensors) if tensors else None
        outputs = self.entry.run(inputs, state=state)
        return tuple(outputs.values()) if len(outputs) > 1 else next(iter(outputs.values()))

    def apart(self, arguments: Sequence[Any]) -> Tuple[List[Tuple[Any, Any]], Sequence[Any]]:
        """The inputs with what is given for them, and the state's tensors."""
        first, last = len(self.required), len(self.required) + self.n_states
        values = [*arguments[:first], *arguments[last:]]
        return list(zip(self.required + self.optional, values)), arguments[first:last]

    def state_of(self, tensors: Sequence[Any]) -> State:
        layout, addresses = framework_named("torch").read(tensors)
        key = (layout, *addresses)
        state = self.states.get(key)
        if state is None:
            state = self.model.create_state("torch", tensors)
            state.arrays = {}  # it is the caller's memory: nothing here keeps it
            while len(self.states) >= MAX_STATES:
                self.states.pop(next(iter(self.states)), None)
            self.states[key] = state
        return state

    def fake(self, *arguments: Any) -> Any:
        symbols = {s.name: s.min for s in self.model.symbols if s.min == s.max}
        device = next(
            (a.device for a in arguments if a is not None), torch.device(self.model.device)
        )
        for tensor, argument in self.apart(arguments)[0]:
            if argument is None:
                continue
            wanted = _torch_dtype(tensor.dtype)
            if argument.dtype not in wanted:
                raise error(
                    "E_RT_INPUT",
                    f"input {quoted(tensor.name)} is {argument.dtype}, expected {wanted[0]}",
                )
            if argument.dim() != len(tensor.shape):
                raise error(
                    "E_RT_INPUT",
                    f"input {quoted(tensor.name)} has {argument.dim()} dimensions, "
                    f"expected {len(tensor.shape)}",
                )
            for dim, size in zip(tensor.shape, argument.shape):
                if isinstance(dim, str):
                    symbols.setdefault(dim, size)
        outputs = []
        for tensor in self.entry.outputs:
            shape = [evaluate(dim, symbols, torch.sym_min, torch.sym_max) for dim in tensor.shape]
            per_byte = tensor.info.per_byte
            if per_byte > 1:
                shape[-1] = shape[-1] // per_byte
            outputs.append(torch.empty(shape, dtype=_torch_dtype(tensor.dtype)[0], device=device))
        return tuple(outputs) if len(outputs) > 1 else outputs[0]


@functools.lru_cache(maxsize=None)
def _torch_dtype(name: str) -> Tuple[Any, ...]:
    """The dtype of results, then that of the bits."""
    info = dtype_named(name)
    return framework_named("torch").dtype_of(info), getattr(torch, info.plain)


def _identifier(name: str, used: Dict[str, int]) -> str:
    base = re.sub(r"\W", "_", name, flags=re.ASCII) or "_"
    if base[0].isdigit() or base[0] == "_":
        base = "x" + base
    n = used[base] = used.get(base, 0) + 1
    return base if n == 1 else f"{base}_{n}"
