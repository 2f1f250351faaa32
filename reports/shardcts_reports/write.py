"""Atomic writes of several files."""
import os
from pathlib import Path


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Writes NAME.tmp for every file, then renames them all. OSError names the file that could not be written."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = {name: folder / f"{name}.tmp" for name in files}
    try:
        for name, data in files.items():
            try:
                temporary[name].write_bytes(data)
            except OSError as error:  # a full disk does not say which file it was
                raise OSError(error.errno, error.strerror, str(temporary[name])) from None
        for name in files:
            os.replace(temporary[name], folder / name)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)
