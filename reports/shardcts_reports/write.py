"""Atomic writes of several files."""
import os
from pathlib import Path


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Writes NAME.tmp for every file, then renames them all. OSError names the file that could not be written."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = {name: folder / f"{name}.tmp" for name in files}
    try:
        for name, data in files.items():
            temporary[name].write_bytes(data)
        for name in files:
            os.replace(temporary[name], folder / name)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)
