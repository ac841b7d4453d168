"""
A PEP 517 backend of the standard library alone: the package's files, and libfarrier.so of this checkout
where it is built, as a wheel. `pip install runtime/python` then needs no network and no setuptools.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import sysconfig
import tarfile
import zipfile
from typing import Any, Dict, Optional, Tuple

ROOT = os.path.dirname(os.path.abspath(__file__))
LIBRARY = os.path.join(os.path.dirname(os.path.dirname(ROOT)), "build", "Release", "libfarrier.so")
NAME = "farrier"


def _read(name: str) -> str:
    with open(os.path.join(ROOT, name), encoding="utf-8") as file:
        return file.read()


def _project() -> Tuple[str, str]:
    """Version and description; Python 3.9 has no TOML reader."""
    text = _read("pyproject.toml")
    found = {
        key: value for key, value in re.findall(r'^(version|description) = "(.*)"$', text, re.M)
    }
    return found["version"], found["description"]


def _metadata() -> str:
    version, description = _project()
    return (
        f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {version}\nSummary: {description}\n"
        f"License: MIT\nRequires-Python: >=3.9\nDescription-Content-Type: text/markdown\n\n{_read('README.md')}"
    )


def _package() -> Dict[str, bytes]:
    folder = os.path.join(ROOT, NAME)
    files = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".py") or name in ("py.typed", "libfarrier.so"):
            with open(os.path.join(folder, name), "rb") as file:
                files[f"{NAME}/{name}"] = file.read()
    return files


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _write(directory: str, files: Dict[str, bytes], tag: str) -> str:
    version, _ = _project()
    info = f"{NAME}-{version}.dist-info"
    files = dict(files)
    files[f"{info}/METADATA"] = _metadata().encode()
    pure = "true" if tag.endswith("any") else "false"
    wheel = f"Wheel-Version: 1.0\nGenerator: {NAME}\nRoot-Is-Purelib: {pure}\nTag: {tag}\n"
    files[f"{info}/WHEEL"] = wheel.encode()
    record = "".join(f"{name},sha256={_hash(data)},{len(data)}\n" for name, data in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    wheel_name = f"{NAME}-{version}-{tag}.whl"
    with zipfile.ZipFile(os.path.join(directory, wheel_name), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
    return wheel_name


def build_wheel(directory: str, settings: Any = None, metadata: Optional[str] = None) -> str:
    files = _package()
    if f"{NAME}/libfarrier.so" not in files and os.path.exists(LIBRARY):
        with open(LIBRARY, "rb") as file:
            files[f"{NAME}/libfarrier.so"] = file.read()
    has_library = f"{NAME}/libfarrier.so" in files
    platform = re.sub(r"[-.]", "_", sysconfig.get_platform())
    return _write(directory, files, f"py3-none-{platform}" if has_library else "py3-none-any")


def build_editable(directory: str, settings: Any = None, metadata: Optional[str] = None) -> str:
    return _write(directory, {f"{NAME}.pth": f"{ROOT}\n".encode()}, "py3-none-any")


def build_sdist(directory: str, settings: Any = None) -> str:
    version, _ = _project()
    name = f"{NAME}-{version}"
    with tarfile.open(
        os.path.join(directory, f"{name}.tar.gz"), "w:gz", format=tarfile.PAX_FORMAT
    ) as archive:
        for path in ["pyproject.toml", "build_wheel.py", "README.md", *_package()]:
            if not path.endswith(".so"):
                archive.add(os.path.join(ROOT, path), f"{name}/{path}")
    return f"{name}.tar.gz"
