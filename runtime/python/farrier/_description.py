"""What a bundle says of itself: the parts of plan.json that a caller sees."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ._dtypes import DTypeInfo, dtype_named

HostExpr = Any  # an int, a symbol's name, or [operator, ...]


class TensorInfo(NamedTuple):
    name: str
    dtype: str
    shape: Tuple[HostExpr, ...]
    """Integers, names of symbols, and expressions over them."""
    fill: Optional[float] = None
    """May be left out of a call: this value is used."""

    @property
    def info(self) -> DTypeInfo:
        return dtype_named(self.dtype)


class EntryInfo(NamedTuple):
    name: str
    inputs: Tuple[TensorInfo, ...]
    outputs: Tuple[TensorInfo, ...]


class SymbolInfo(NamedTuple):
    name: str
    min: int
    max: int
    divisor: int


class StateInfo(NamedTuple):
    name: str
    dtype: str
    shape: Tuple[int, ...]


def _tensor(of: Mapping[str, Any]) -> TensorInfo:
    return TensorInfo(of["name"], of["dtype"], tuple(of["shape"]), of.get("fill"))


class Description:
    def __init__(self, json: Mapping[str, Any]) -> None:
        self.manifest: Mapping[str, Any] = json["manifest"]
        self.plan: Mapping[str, Any] = json["plan"]
        self.entries: Dict[str, EntryInfo] = {
            e["name"]: EntryInfo(
                e["name"], tuple(map(_tensor, e["inputs"])), tuple(map(_tensor, e["outputs"]))
            )
            for e in self.plan["entries"]
        }
        self.symbols = [
            SymbolInfo(s["name"], s["min"], s["max"], s["divisor"]) for s in self.plan["symbols"]
        ]
        self.states = [
            StateInfo(s["name"], s["dtype"], tuple(s["shape"])) for s in self.plan["states"]
        ]

    def uses_state(self, target: str, entry: str) -> bool:
        return any(
            buffer["kind"] == "state"
            for plan in self.plan["targets"][target]["entries"][entry]
            for step in plan["steps"]
            for buffer in step["buffers"]
        )


def sources_by_name(plan: Mapping[str, Any], names: Sequence[str]) -> Dict[str, str]:
    """
    Source of the plan → one of `names`. Where no name is the checkpoint's, one prefix may differ for all: a
    model without its head has ``wte.weight`` for ``transformer.wte.weight``.
    """
    sources = [source["name"] for source in plan["sources"] if source["from"]["kind"] == "none"]
    exact = {name: name for name in sources if name in names}
    if exact:
        return exact
    given = set(names)
    best: Dict[str, str] = {}
    for prefix in _prefixes(sources):
        found = {
            n: n[len(prefix) :]
            for n in sources
            if n.startswith(prefix) and n[len(prefix) :] in given
        }
        best = max(best, found, key=len)
    for prefix in _prefixes(names):
        found = {n: prefix + n for n in sources if prefix + n in given}
        best = max(best, found, key=len)
    return best


def _prefixes(names: Sequence[str]) -> List[str]:
    found: Dict[str, None] = {}
    for name in names:
        parts = name.split(".")
        found.update({".".join(parts[:i]) + ".": None for i in range(1, min(len(parts), 4))})
    return list(found)


def evaluate(
    expr: HostExpr, symbols: Mapping[str, Any], minimum: Any = min, maximum: Any = max
) -> Any:
    """An expression over symbols, which may be symbolic integers of a tracer."""
    if isinstance(expr, str):
        return symbols[expr]
    if isinstance(expr, int):
        return expr
    operator, *operands = expr
    if operator == "select":
        chosen = 1 if evaluate(operands[0], symbols, minimum, maximum) != 0 else 2
        return evaluate(operands[chosen], symbols, minimum, maximum)
    values = [evaluate(operand, symbols, minimum, maximum) for operand in operands]
    result = values[0]
    for value in values[1:]:
        result = _operators[operator](result, value, minimum, maximum)
    return result


_operators: Dict[str, Any] = {
    "add": lambda a, b, *_: a + b,
    "sub": lambda a, b, *_: a - b,
    "mul": lambda a, b, *_: a * b,
    "div": lambda a, b, *_: a // b,
    "mod": lambda a, b, *_: a % b,
    "min": lambda a, b, minimum, _: minimum(a, b),
    "max": lambda a, b, _, maximum: maximum(a, b),
    "lt": lambda a, b, *_: 1 if a < b else 0,
    "le": lambda a, b, *_: 1 if a <= b else 0,
    "eq": lambda a, b, *_: 1 if a == b else 0,
    "ne": lambda a, b, *_: 1 if a != b else 0,
}
