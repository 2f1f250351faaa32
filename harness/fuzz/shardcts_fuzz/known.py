"""Known deviations: what an implementation is known to do otherwise, and where (docs/fuzz_deviations.toml)."""

import tomllib
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase

FIELDS = {"name", "implementation", "evidence", "when", "outcome", "avoid"}


class Avoided(Exception):
    """The action would only show what is known."""


class KnownError(Exception):
    """The file is wrong."""


@dataclass(frozen=True)
class Deviation:
    name: str
    implementation: str  # a pattern of its source
    evidence: str  # a script, or a place in docs/deviations.md
    when: dict  # dimension of the action's tags -> patterns, of which one must fit a tag
    outcome: dict  # field of a finding -> patterns
    avoid: bool = True  # by half of the programs, action by action

    def touches(self, tags):
        return all(_fits(patterns, [value for key, value in tags if key == name]) for name, patterns in self.when.items())

    def explains(self, finding):
        blamed = finding.oracle == "baseline" or fnmatchcase(finding.suspect, self.implementation)
        if not blamed or not self.touches(finding.tags):
            return False
        fields = {"rule": finding.rule, "op": finding.op, "difference": finding.difference}
        return all(_fits(patterns, [fields[name]]) for name, patterns in self.outcome.items())


def _fits(patterns, values):
    return any(fnmatchcase(str(value), pattern) for value in values for pattern in patterns)


class Known:
    def __init__(self, deviations=()):
        self.deviations = list(deviations)
        self.seen = Counter()

    def of(self, implementations):
        """Those of the implementations that run (their sources, without options and mutants)."""
        return Known([one for one in self.deviations if any(fnmatchcase(name, one.implementation) for name in implementations)])

    def touches(self, tags):
        return any(one.avoid and one.touches(tags) for one in self.deviations)

    def explain(self, finding):
        for one in self.deviations:
            if one.explains(finding):
                self.seen[one.name] += 1
                return one
        return None


def read_known(path):
    try:
        with open(path, "rb") as file:
            entries = tomllib.load(file).get("deviation", [])
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise KnownError(f"{path}: {error}") from None
    return Known([_deviation(entry, f"{path}: deviation {index + 1}") for index, entry in enumerate(entries)])


def _deviation(entry, place):
    if set(entry) - FIELDS or not {"name", "implementation", "evidence"} <= set(entry):
        raise KnownError(f"{place}: needs name, implementation and evidence, and may have when and outcome")
    for part, allowed in (("when", None), ("outcome", {"rule", "op", "difference"})):
        table = entry.get(part, {})
        for key, value in table.items():
            if (allowed and key not in allowed) or not isinstance(value, list):
                raise KnownError(f"{place}: {part}.{key} is not known, or not a list of patterns")
    return Deviation(entry["name"], entry["implementation"], entry["evidence"], entry.get("when", {}), entry.get("outcome", {}),
                     entry.get("avoid", True))  # fmt: skip
