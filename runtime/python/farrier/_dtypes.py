"""Element types by farrier's names: DLPack codes, and the words that frameworks have for them."""

from __future__ import annotations

import struct
from typing import Dict, NamedTuple, Union

from .errors import UNSUPPORTED, error


class DTypeInfo(NamedTuple):
    name: str
    code: int  # DLPack's
    bits: int
    word: str  # what NumPy, ml_dtypes and PyTorch call it
    plain: str  # the type of its bits, where a framework has no such type

    @property
    def per_byte(self) -> int:
        """Elements in a byte: more than 1 for packed types, whose arrays are bytes."""
        return max(1, 8 // self.bits)


def _table() -> Dict[str, DTypeInfo]:
    rows = [DTypeInfo("bool", 6, 8, "bool", "uint8")]
    for bits in (8, 16, 32, 64):
        rows.append(DTypeInfo(f"i{bits}", 0, bits, f"int{bits}", f"int{bits}"))
        rows.append(DTypeInfo(f"u{bits}", 1, bits, f"uint{bits}", f"uint{bits}"))
    for bits in (16, 32, 64):
        rows.append(DTypeInfo(f"f{bits}", 2, bits, f"float{bits}", f"float{bits}"))
    rows.append(DTypeInfo("bf16", 4, 16, "bfloat16", "uint16"))
    for name, code, word in (
        ("e4m3fn", 10, "float8_e4m3fn"),
        ("e4m3fnuz", 11, "float8_e4m3fnuz"),
        ("e5m2", 12, "float8_e5m2"),
        ("e5m2fnuz", 13, "float8_e5m2fnuz"),
        ("e8m0", 14, "float8_e8m0fnu"),
    ):
        rows.append(DTypeInfo(name, code, 8, word, "uint8"))
    # Packed, low bits first: an array of bytes, its last dimension counted in bytes.
    for name, code, bits in (("i2", 0, 2), ("i4", 0, 4), ("u2", 1, 2), ("u4", 1, 4)):
        rows.append(DTypeInfo(name, code, bits, "uint8", "uint8"))
    rows.append(DTypeInfo("e2m1", 17, 4, "float4_e2m1fn_x2", "uint8"))
    return {row.name: row for row in rows}


DTYPES: Dict[str, DTypeInfo] = _table()
# What an array of that type is, when nothing else is expected of it.
NATURAL: Dict[str, DTypeInfo] = {
    row.word: row for row in DTYPES.values() if row.per_byte == 1 or row.name == "e2m1"
}


def dtype_named(name: str) -> DTypeInfo:
    try:
        return DTYPES[name]
    except KeyError:
        raise error("E_TYPE_UNSUPPORTED", f"dtype {name} is not known", None, UNSUPPORTED) from None


def fill_bits(dtype: DTypeInfo, value: float) -> Union[int, float]:
    """`value` for an array of `dtype.plain`."""
    if dtype.plain == dtype.word or dtype.name == "bool" or value == 0:
        return value
    if dtype.name == "bf16":
        bits = struct.unpack("<I", struct.pack("<f", value))[0]
        return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    raise error(
        "E_TYPE_UNSUPPORTED", f"an input of {dtype.name} cannot be left out", "give it", UNSUPPORTED
    )
