"""Reads an untrusted JSON file: bounded, strict, and checked against a schema before it is used."""
import json
import math
import os
from pathlib import Path

import jsonschema_rs

SCHEMA_FOLDER = Path(__file__).resolve().parent.parent / "schema"
MAX_BYTES = 512 * 1024 * 1024
MAX_DEPTH = 200
MAX_DIGITS = 20  # of an integer: 64 bits
MAX_MESSAGE = 2000  # characters of an error, which may repeat what the file says


class InputError(Exception):
    """One line of at most MAX_MESSAGE characters that names the file and the position in it. Exit code 2."""

    def __init__(self, message: str):
        line = " ".join(str(message).split())
        super().__init__(line if len(line) <= MAX_MESSAGE else f"{line[:MAX_MESSAGE - 4]} ...")


def load_json(path: Path, max_bytes: int = MAX_BYTES):
    """The parsed file. Rejects truncated files, duplicate keys, NaN and infinite numbers, and more than max_bytes."""
    text = read_text(path, max_bytes)
    try:
        document = json.loads(text, object_pairs_hook=_object_without_duplicates, parse_constant=_reject_constant,
                          parse_float=_finite_float, parse_int=_bounded_int)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: line {error.lineno}, column {error.colno}: {error.msg}: "
                         "truncated or corrupt JSON") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    if _deeper_than(document, MAX_DEPTH):
        raise InputError(f"{path}: nested more than {MAX_DEPTH} deep")
    return document


def validate(document, schema_name: str, path: Path | str) -> None:
    """Raises InputError naming the first position that violates schema/SCHEMA_NAME."""
    schema = json.loads((SCHEMA_FOLDER / schema_name).read_text(encoding="utf-8"))
    for error in jsonschema_rs.Draft202012Validator(schema).iter_errors(document):
        raise InputError(f"{path}: at {place(error.instance_path)}: {_shorten(error.message)}")


def place(path) -> str:
    """`tests[3].checks.expected`, or `the top` for an empty path."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return _shorten(text) or "the top"


def _deeper_than(document, levels: int) -> bool:
    level = [document]
    for _ in range(levels):
        level = [child for node in level if isinstance(node, (dict, list))
                 for child in (node.values() if isinstance(node, dict) else node)]
    return bool(level)


def read_text(path: Path, max_bytes: int) -> str:
    """A file of UTF-8; a pipe in its place is an empty one. InputError."""
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    if len(data) > max_bytes:
        raise InputError(f"{path}: larger than {max_bytes} bytes")
    if not data.strip():
        raise InputError(f"{path}: empty file")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start}: not UTF-8") from None


def _open_without_waiting(path, flags):
    # A named pipe instead of the file must not block.
    return os.open(path, flags | os.O_NONBLOCK)


def _object_without_duplicates(pairs):
    made = dict(pairs)
    if len(made) != len(pairs):
        seen = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"key {_shorten(repr(twice))} stands twice in one object")
    return made


def _reject_constant(name: str):
    raise ValueError(f"{name} is not a JSON number")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{_shorten(text)} is out of range")
    return value


def _bounded_int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"{_shorten(text)} has more than {MAX_DIGITS} digits")
    return int(text)


def _shorten(text: str, limit: int = 200) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[:limit - 1] + "…"
