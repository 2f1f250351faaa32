"""Compares recorded values: names and their order first, then layout, then bits, or values where arithmetic was done."""

import base64
import math
import struct
from dataclasses import dataclass

FORMATS = {"float32": "f", "float64": "d", "float16": "e", "int64": "q", "bool": "?"}
TOLERANCE = {"float32": 1e-4, "float64": 1e-7, "float16": 1e-2, "bfloat16": 3e-2}
FLAGS = ("requires_grad", "is_parameter")


@dataclass(frozen=True)
class Difference:
    kind: str  # "keys", "key order", "type", "shape", "dtype", "layout", "device", "bits", "values", …
    path: str
    text: str


class Comparison:
    """Of values of one recording with those of another, or of the same."""

    def __init__(self, expected, actual, exact, layout=True, flags=False, values=True):
        self._expected, self._actual = expected, actual
        self._exact, self._layout, self._values = exact, layout, values
        self._ignored = () if flags else FLAGS

    def compare(self, expected, actual, path=""):
        """The first difference, or None."""
        expected, actual = self._expected.expand(expected), self._actual.expand(actual)
        if isinstance(expected, dict) and isinstance(actual, dict):
            return self._dicts(expected, actual, path)
        if isinstance(expected, list) and isinstance(actual, list):
            if len(expected) != len(actual):
                return Difference("length", path, f"{len(expected)} and {len(actual)} elements")
            return self._first((self.compare(a, b, f"{path}[{i}]") for i, (a, b) in enumerate(zip(expected, actual))))
        if isinstance(expected, float) and isinstance(actual, float):
            same = expected == actual or (not self._exact and math.isclose(expected, actual, rel_tol=1e-4, abs_tol=1e-5))
            return None if same else Difference("number", path, f"{expected} and {actual}")
        if type(expected) is not type(actual):
            return Difference("type", path, f"{_short(expected)} and {_short(actual)}")
        return None if expected == actual else Difference("value", path, f"{_short(expected)} and {_short(actual)}")

    @staticmethod
    def _first(differences):
        return next((found for found in differences if found), None)

    def _dicts(self, expected, actual, path):
        kinds = [next((key for key in value if key.startswith("$")), "") if len(value) == 1 else "" for value in (expected, actual)]
        if kinds[0] != kinds[1]:
            return Difference("type", path, f"{kinds[0] or 'dict'} and {kinds[1] or 'dict'}")
        if kinds[0] == "$handle":
            return None  # numbers of handles are the implementation's own
        if kinds[0] == "$tensor":
            return self._tensors(expected["$tensor"], actual["$tensor"], path)
        if kinds[0] == "$dtensor":
            return self._dtensors(expected["$dtensor"], actual["$dtensor"], path)
        if kinds[0] == "$sharded_tensor":
            return self._sharded(expected["$sharded_tensor"], actual["$sharded_tensor"], path)
        if kinds[0] == "$dict":
            expected, actual = (dict((repr(key), item) for key, item in value["$dict"]) for value in (expected, actual))
        return self._keys(expected, actual, path)

    def _keys(self, expected, actual, path):
        missing = [key for key in expected if key not in actual]
        extra = [key for key in actual if key not in expected]
        if missing or extra:
            return Difference("keys", path, f"missing {missing[:3]}, unexpected {extra[:3]}")
        found = self._first(self.compare(expected[key], actual[key], f"{path}.{key}") for key in expected)
        if found or list(expected) == list(actual):
            return found
        return Difference("key order", path, f"{list(expected)[:6]} and {list(actual)[:6]}")

    def _dtensors(self, expected, actual, path):
        for key in ("shape", "stride", "placements", "mesh"):
            if self._layout and expected[key] != actual[key]:
                return Difference("layout", path, f"{key} {_short(expected[key])} and {_short(actual[key])}")
        return self._tensors(expected["local"], actual["local"], path)

    def _sharded(self, expected, actual, path):
        for key in ("shape", "dtype", "metadata"):
            if self._layout and expected[key] != actual[key]:
                return Difference("layout", path, f"{key} {_short(expected[key])} and {_short(actual[key])}")
        shards = expected["local_shards"], actual["local_shards"]
        if len(shards[0]) != len(shards[1]):
            return Difference("layout", path, f"{len(shards[0])} and {len(shards[1])} local shards")
        return self._first(self._tensors(a["tensor"], b["tensor"], path) for a, b in zip(*shards))

    def _tensors(self, expected, actual, path):
        for key in ("shape", "dtype", "device", *(flag for flag in FLAGS if flag not in self._ignored)):
            if expected.get(key) != actual.get(key):
                return Difference(key, path, f"{key} {expected.get(key)} and {actual.get(key)}")
        if not self._values:
            return None
        same = [value.get("digest") or value.get("data") for value in (expected, actual)]
        if same[0] == same[1]:
            return None
        return self._bytes(expected, actual, path)

    def _bytes(self, expected, actual, path):
        a, b = self._expected.bytes_of(expected), self._actual.bytes_of(actual)
        if a is None or b is None or a == b:
            return None if a == b and a is not None else Difference("bits", path, "values that were not kept")
        tolerance = None if self._exact else TOLERANCE.get(expected["dtype"])
        values = [_numbers(data, expected["dtype"]) for data in (a, b)]
        if tolerance is not None and _close(*values, tolerance):
            return None
        index = next((i for i, (x, y) in enumerate(zip(*values)) if x != y), 0)
        return Difference("bits", path, f"element {index}: {values[0][index]} and {values[1][index]}")


def _numbers(data, dtype):
    if dtype == "bfloat16":
        return [struct.unpack("<f", b"\0\0" + data[i : i + 2])[0] for i in range(0, len(data), 2)]
    if dtype in FORMATS:
        return list(struct.unpack(f"<{len(data) // struct.calcsize(FORMATS[dtype])}{FORMATS[dtype]}", data))
    return list(data)


def _close(expected, actual, tolerance):
    scale = max((abs(x) for x in expected if math.isfinite(x)), default=0.0)
    bound = tolerance * max(scale, 1e-3)
    return all(x == y or abs(x - y) <= bound or (x != x and y != y) for x, y in zip(expected, actual))


def not_rounded(recording, value, dtype):
    """An element of a float32 tensor, or of a DTensor's part, that the dtype bfloat16 does not have; or None."""
    tensor = value.get("$tensor") or value.get("$dtensor", {}).get("local") if isinstance(value, dict) else None
    data = recording.bytes_of(tensor) if tensor and tensor["dtype"] == "float32" and dtype == "bfloat16" else None
    lower = range(0, len(data or b""), 4)
    return next((_numbers(data[i : i + 4], "float32")[0] for i in lower if data[i : i + 2] != b"\0\0"), None)


def not_given(recording, actual, name, given):
    """What is wrong with an entry that was loaded from a float32 tensor of the script, or another value of it; or None."""
    if name not in actual:
        return "is missing"
    if not (isinstance(given, dict) and "$tensor" in given):
        return None if actual[name] == given else f"{_short(actual[name])}, and {_short(given)} was given"
    tensor, expected = actual[name].get("$tensor"), given["$tensor"]
    if tensor is None or tensor["shape"] != expected["shape"]:
        return f"{_short(actual[name])} is no tensor of the shape {expected['shape']}"
    data = recording.bytes_of(tensor)
    if data is None:
        return None
    wanted = _numbers(base64.b64decode(expected["data"]), "float32")
    values = _numbers(data, tensor["dtype"])
    wanted = [bool(value) for value in wanted] if tensor["dtype"] == "bool" else wanted
    index = next((i for i, (x, y) in enumerate(zip(values, wanted)) if x != y), None)
    return None if index is None else f"element {index}: {values[index]}, and {wanted[index]} was given"


def _short(value):
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def key_list(value):
    return list(value) if isinstance(value, dict) else None
