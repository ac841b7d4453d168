"""Which library an array is of."""

from __future__ import annotations

import sys
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ._frameworks import CPU, CuPy, Framework, NumPy, PyTorch
from .errors import error

_makers = {"torch": PyTorch, "numpy": NumPy, "cupy": CuPy}
_frameworks: Dict[str, Framework] = {}
by_type: Dict[type, Optional[Framework]] = {}


def framework_named(name: str) -> Framework:
    """E_OPTION if there is none of that name, or it is not installed."""
    if name not in _makers:
        raise error("E_OPTION", f"{name!r} is no framework", f"it may be {', '.join(_makers)}")
    found = _frameworks.get(name)
    if found is None:
        try:
            found = _frameworks[name] = _makers[name]()
        except ImportError as cause:
            raise error("E_OPTION", f"{name} cannot be imported: {cause}") from cause
    return found


def framework_of(kind: type) -> Optional[Framework]:
    """The library whose arrays are of that type."""
    try:
        return by_type[kind]
    except KeyError:
        pass
    found = None
    for base in kind.__mro__:
        top = base.__module__.partition(".")[0]
        if (top, base.__name__) in (("torch", "Tensor"), ("numpy", "ndarray"), ("cupy", "ndarray")):
            found = framework_named(top)
    by_type[kind] = found
    return found


def adopt(values: Sequence[Any], names: Sequence[str]) -> Tuple[Framework, List[Any]]:
    """
    The one framework that the arrays are of. What is no array of any but speaks DLPack becomes one
    without a copy: of the framework of the others, or of one that is imported. `None` stays. E_RT_INPUT.
    """
    framework: Optional[Framework] = None
    first = ""
    for value, name in zip(values, names):
        its = None if value is None else framework_of(type(value))
        if its is None:
            continue
        if framework is not None and its is not framework:
            raise error(
                "E_RT_INPUT",
                f'input "{first}" is of {framework.name}, input "{name}" of {its.name}',
                "give arrays of one framework",
            )
        framework, first = its, name
    out = []
    for value, name in zip(values, names):
        if value is not None and framework_of(type(value)) is None:
            framework, value = _import(framework, value, name)
        out.append(value)
    if framework is None:
        raise error(
            "E_RT_INPUT", "no input was given, so the kind of the results is not known", "give one"
        )
    return framework, out


def _import(framework: Optional[Framework], value: Any, name: str) -> Tuple[Framework, Any]:
    if not hasattr(value, "__dlpack__"):
        raise error(
            "E_RT_INPUT",
            f'input "{name}" is {type(value).__name__}, not an array',
            "give a PyTorch, NumPy or CuPy array",
        )
    if framework is None:
        on_gpu = value.__dlpack_device__()[0] != CPU
        wanted = ("torch", "cupy") if on_gpu else ("torch", "numpy")
        framework = framework_named(next((n for n in wanted if n in sys.modules), wanted[-1]))
    try:
        return framework, framework.module.from_dlpack(value)
    except (TypeError, ValueError, RuntimeError, BufferError, AttributeError) as cause:
        raise error(
            "E_RT_INPUT",
            f'input "{name}" cannot be taken through DLPack by {framework.name}: {cause}',
        ) from cause
