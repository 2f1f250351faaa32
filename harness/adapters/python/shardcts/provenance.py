"""What exactly was tested: the file of an adapter and the packages that it tests, with digests."""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
from pathlib import Path

_DIGITS = 16  # of a SHA-256 digest


def file_of(adapter_class: type) -> dict[str, str]:
    """{"adapter": "NAME.py, sha256 …"}; {} for a class that comes from no file."""
    name = getattr(sys.modules.get(adapter_class.__module__), "__file__", None)
    if name is None:
        return {}
    try:
        return {"adapter": f"{Path(name).name}, sha256 {_digest(Path(name).read_bytes())}"}
    except OSError:
        return {}


def packages(names: list[str]) -> dict[str, str]:
    """{"package NAME": "VERSION, sha256 of RECORD …"}: pip's list of the package's files has their digests."""
    return {f"package {name}": _package(name) for name in names}


def _package(name: str) -> str:
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return "is not installed"
    record = found.read_text("RECORD")
    return found.version if record is None else f"{found.version}, sha256 of RECORD {_digest(record.encode())}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_DIGITS]
