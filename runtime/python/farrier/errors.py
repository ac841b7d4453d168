"""The one exception of this package: the runtime's codes and exit statuses."""

from __future__ import annotations

from typing import Optional

BAD_INPUT, UNSUPPORTED, DEVICE, IO, INTERNAL = 2, 3, 4, 5, 70


class FarrierError(RuntimeError):
    """A failure with a code. Its text is ``E_CODE: what is wrong (what to do)``."""

    code: str
    """One of the ``E_…`` codes."""
    exit_status: int
    """As the command line exits: 2 bad input, 3 unsupported, 4 device, 5 I/O, 70 a defect."""

    def __init__(self, code: str, message: str, exit_status: int = BAD_INPUT) -> None:
        super().__init__(message)
        self.code = code
        self.exit_status = exit_status

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return (FarrierError, (self.code, str(self), self.exit_status))


def error(
    code: str, what: str, hint: Optional[str] = None, exit_status: int = BAD_INPUT
) -> FarrierError:
    """A failure of the package itself, spelled as the runtime spells its own."""
    return FarrierError(
        code, f"{code}: {what}" + ("" if hint is None else f" ({hint})"), exit_status
    )


def quoted(name: object) -> str:
    return '"' + str(name).replace("\\", "\\\\").replace('"', '\\"') + '"'
