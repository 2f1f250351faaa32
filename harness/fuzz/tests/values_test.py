"""Comparison of recorded values: which difference is told, and which is none."""

import base64
import struct

import pytest
from shardcts_fuzz.findings import without_numbers
from shardcts_fuzz.values import Comparison, not_given


class Kept:
    """A recording whose tensors have their data in the text."""

    @staticmethod
    def expand(value):
        return value

    @staticmethod
    def bytes_of(tensor):
        return base64.b64decode(tensor["data"])


def tensor(*values, dtype="float32", **more):
    data = base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
    return {"$tensor": {"shape": [len(values)], "dtype": dtype, "data": data, **more}}


def difference(expected, actual, exact=True, **more):
    found = Comparison(Kept, Kept, exact, **more).compare(expected, actual)
    return found and found.kind


@pytest.mark.parametrize("expected, actual, kind", [
    ({"a": 1}, {"a": 1}, None),
    ({"a": 1}, {"a": 2}, "value"),
    ({"a": 1}, {"b": 1}, "keys"),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}, "key order"),
    (tensor(1.0), tensor(1.0), None),
    (tensor(1.0), tensor(1.5), "bits"),
    (tensor(1.0), tensor(1.0, 2.0), "shape"),
    (tensor(1.0), {"$tensor": {"shape": [1], "dtype": "float64", "data": "AAAAAAAA8D8="}}, "dtype"),
    (tensor(1.0), {"$dtensor": {}}, "type"),
    ({"$handle": "model:1"}, {"$handle": "model:2"}, None),
    ([1, 2], [1], "length"),
    (1, 1.0, "type"),
])  # fmt: skip
def test_differences(expected, actual, kind):
    assert difference(expected, actual) == kind


def test_after_arithmetic_values_need_only_be_close():
    near, far = tensor(1.0, 2.0), tensor(1.0000001, 2.0)
    assert difference(near, far) == "bits"
    assert difference(near, far, exact=False) is None
    assert difference(near, tensor(1.01, 2.0), exact=False) == "bits"
    assert difference(near, tensor(float("nan"), 2.0), exact=False) == "bits"


def test_flags_count_where_they_are_asked_for():
    trained = tensor(1.0, requires_grad=True)
    assert difference(trained, tensor(1.0)) is None
    assert difference(trained, tensor(1.0), flags=True) == "requires_grad"


def test_messages_of_one_cause_are_alike():
    first = without_numbers("size mismatch for 0.weight: torch.Size([3, 2]) at 0x7f12")
    assert first == without_numbers("size mismatch for 7.weight: torch.Size([1]) at 0x55aa")
    assert first != without_numbers("missing key")


def entry(code, dtype, *values):
    data = base64.b64encode(struct.pack(f"<{len(values)}{code}", *values)).decode()
    return {"a": {"$tensor": {"shape": [len(values)], "dtype": dtype, "data": data}}}


@pytest.mark.parametrize("actual, given, wrong", [
    (entry("f", "float32", 3.0, 0.0), tensor(3.0, 0.0), None),
    (entry("f", "float32", 3.0, 1.0), tensor(3.0, 0.0), "element 1: 1.0, and 0.0 was given"),
    (entry("q", "int64", 3, 0), tensor(3.0, 0.0), None),
    (entry("q", "int64", 2, 0), tensor(3.0, 0.0), "element 0: 2, and 3.0 was given"),
    (entry("?", "bool", True, False), tensor(3.0, 0.0), None),
    (entry("?", "bool", True, True), tensor(3.0, 0.0), "element 1: True"),
    (entry("f", "float32", 3.0), tensor(3.0, 0.0), "is no tensor of the shape [2]"),
    ({}, tensor(3.0), "is missing"),
    ({"a": 1}, "other", "1, and other was given"),
    ({"a": "other"}, "other", None),
])  # fmt: skip
def test_what_was_given_is_there(actual, given, wrong):
    found = not_given(Kept, actual, "a", given)
    assert found == wrong if wrong is None else wrong in found
