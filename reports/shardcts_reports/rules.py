"""The rules of a run: each sentence with its results on each implementation."""
from dataclasses import dataclass

from .verdicts import VERDICTS


@dataclass
class RuleRow:
    id: str
    level: str
    area: str
    sentence: str
    source: str
    verdicts: list[dict[str, int]]  # by implementation, how often each verdict occurs; empty: not selected there
    profile: str = ""  # "core", "durable", "hardened"; empty: the suite has none

    @property
    def texts(self) -> list[str]:
        """"✓ 7 pass, △ 1 advice" for each implementation."""
        return [", ".join(f"{VERDICTS[name].symbol} {count} {VERDICTS[name].label}" for name, count in counts.items())
                for counts in self.verdicts]


@dataclass
class ProfileRow:
    """The rules of one profile."""

    name: str
    rules: int
    kept: list[int]  # by implementation: rules with a result there, all of them pass
    judged: list[int]  # rules with results that say whether it is kept
    broken: list[list[str]]  # their ids

    @property
    def texts(self) -> list[str]:
        """"60 of 62 kept; not: RK3, RS7" for each implementation."""
        return [f"{kept} of {judged} kept" + (f"; not: {', '.join(broken)}" if broken else "")
                for kept, judged, broken in zip(self.kept, self.judged, self.broken, strict=True)]


@dataclass
class RuleTable:
    suite: str
    rows: list[RuleRow]

    @property
    def profiles(self) -> list[ProfileRow]:
        names = dict.fromkeys(row.profile for row in self.rows if row.profile)
        return [_profile(name, [row for row in self.rows if row.profile == name]) for name in names]


def rule_tables(document: dict, labels: list[str]) -> list[RuleTable]:
    """One table for each suite of rules, with the rules that have a result, in the order of the suite."""
    tables = [RuleTable(suite["name"], _rows(suite, document["tests"], labels)) for suite in document.get("suites", [])]
    return [table for table in tables if table.rows]


# What says nothing about a rule.
_UNDECIDED = {"not_supported", "not_applicable", "harness_error", "not_run"}


def _profile(name: str, rows: list[RuleRow]) -> ProfileRow:
    found = ProfileRow(name, len(rows), [], [], [])
    for counts in zip(*(row.verdicts for row in rows), strict=True):
        judged = [(row.id, set(of_row) - _UNDECIDED) for row, of_row in zip(rows, counts, strict=True)]
        judged = [(rule, verdicts) for rule, verdicts in judged if verdicts]
        found.broken.append([rule for rule, verdicts in judged if verdicts != {"pass"}])
        found.judged.append(len(judged))
        found.kept.append(len(judged) - len(found.broken[-1]))
    return found


def _rows(suite: dict, tests: list[dict], labels: list[str]) -> list[RuleRow]:
    found: dict[str, dict[str, list[str]]] = {}  # rule -> implementation -> verdicts
    for test in tests:
        if test["suite"] == suite["name"]:
            found.setdefault(test["upstream_function"], {}).setdefault(test["implementation"], []).append(test["verdict"])
    return [RuleRow(rule["id"], rule["level"], rule["area"], rule["sentence"], rule["source"],
                    [_counts(found[rule["id"]].get(label, [])) for label in labels], rule.get("profile", ""))
            for rule in suite.get("rules", []) if rule["id"] in found]


def _counts(verdicts: list[str]) -> dict[str, int]:
    return {name: verdicts.count(name) for name in VERDICTS if name in verdicts}
