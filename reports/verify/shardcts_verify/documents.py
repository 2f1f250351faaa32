"""JSON and TOML of a bundle, which is not trusted: strict, bounded, and every field is asked for with its type."""
import json
import math
import tomllib

from .findings import reject

MAX_DEPTH = 30


def parse_json(data: bytes, place: str, name: str = "member.form"):
    """One value; no NaN, no repeated keys, bounded depth and integers."""
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse,
                              parse_float=_finite, parse_int=_integer)
        _require_depth(document, MAX_DEPTH)
    except (ValueError, RecursionError) as error:
        reject(name, place, f"is no JSON that is read here: {error}")
    return document


def parse_toml(data: bytes, place: str, name: str) -> dict:
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        reject(name, place, f"is no TOML: {error}")


class Fields:
    """An object of which every field is taken with its type. Faults are `name` of findings.MEANINGS."""

    def __init__(self, value, place: str, name: str):
        if not isinstance(value, dict):
            reject(name, place, "is no object")
        self._value, self.place, self._name = value, place, name

    def __contains__(self, key: str) -> bool:
        return key in self._value

    def only(self, *keys: str) -> "Fields":
        for key in self._value:
            if key not in keys:
                reject(self._name, self.place, f"unknown field {key!r}")
        return self

    def take(self, key: str, kind: type | tuple[type, ...]):
        if key not in self._value:
            reject(self._name, self.place, f"field {key!r} is missing")
        value = self._value[key]
        wrong_bool = isinstance(value, bool) and kind is not bool and not (isinstance(kind, tuple) and bool in kind)
        if not isinstance(value, kind) or wrong_bool:
            reject(self._name, self.place, f"field {key!r} is no {getattr(kind, '__name__', 'value of its kind')}")
        return value

    def text(self, key: str) -> str:
        return self.take(key, str)

    def number(self, key: str) -> float:
        return float(self.take(key, (int, float)))

    def count(self, key: str) -> int:
        value = self.take(key, int)
        if value < 0:
            reject(self._name, self.place, f"field {key!r} is negative")
        return value

    def texts(self, key: str) -> list[str]:
        value = self.take(key, list)
        if not all(isinstance(entry, str) for entry in value):
            reject(self._name, self.place, f"field {key!r} is no list of texts")
        return value

    def object(self, key: str) -> "Fields":
        return Fields(self.take(key, dict), f"{self.place}: {key}", self._name)

    def keys(self) -> list[str]:
        return list(self._value)


def _unique(pairs):
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return made


def _refuse(text):
    raise ValueError(f"{text} is no number")


def _finite(text):
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:30]} is out of range")
    return value


def _integer(text):
    if len(text) > 20:
        raise ValueError("an integer of more than 20 digits")
    return int(text)


def _require_depth(document, levels: int) -> None:
    level = [document]
    for _ in range(levels):
        level = [child for node in level if isinstance(node, (dict, list))
                 for child in (node.values() if isinstance(node, dict) else node) if isinstance(child, (dict, list))]
        if not level:
            return
    raise ValueError(f"nested more than {levels} deep")
