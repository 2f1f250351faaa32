"""Which versions something is said of, ">=2.13, <2.15", as in waivers (harness/results/version_range.h)."""

from __future__ import annotations

import operator
import re

_RELATIONS = {"<=": operator.le, ">=": operator.ge, "==": operator.eq, "<": operator.lt, ">": operator.gt}
_BOUND = re.compile(r"(<=|>=|==|<|>)([0-9]+(?:\.[0-9]+)*)")
_NUMBERS = re.compile(r"[0-9]+(?:\.[0-9]+)*")


def version_numbers(version: str) -> tuple[int, ...]:
    """The numbers at the beginning: "2.13.0+cpu" gives 2, 13. Trailing zeros do not count. Empty: it begins with none."""
    match = _NUMBERS.match(version)
    numbers = [int(number) for number in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


class VersionRange:
    """Raises ValueError for a text that is no range, and for one in which no version can be."""

    def __init__(self, text: str):
        self._text = text
        self._bounds = [self._parse(bound, text) for bound in text.replace(" ", "").split(",")]
        # A range has a version if one at a bound, or one just beside it, is in it.
        candidates = [(), *(near for _, bound in self._bounds for near in (bound, (*bound, 0, 1)))]
        if not any(map(self._holds, candidates)):
            raise ValueError(f"no version can be in the range '{text}'")

    def __contains__(self, version: str) -> bool:
        """Whether every bound holds. A version that begins with no number is in no range."""
        numbers = version_numbers(version)
        return bool(numbers) and self._holds(numbers)

    def __str__(self) -> str:
        return self._text

    def _holds(self, numbers: tuple[int, ...]) -> bool:
        return all(relation(numbers, bound) for relation, bound in self._bounds)

    @staticmethod
    def _parse(bound: str, text: str):
        match = _BOUND.fullmatch(bound)
        if match is None:
            raise ValueError(f"'{text}' is no range of versions such as '>=2.13, <2.15'")
        return _RELATIONS[match[1]], version_numbers(match[2])
