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

    @property
    def texts(self) -> list[str]:
        """"✓ 7 pass, △ 1 advice" for each implementation."""
        return [", ".join(f"{VERDICTS[name].symbol} {count} {VERDICTS[name].label}" for name, count in counts.items())
                for counts in self.verdicts]


@dataclass
class RuleTable:
    suite: str
    rows: list[RuleRow]


def rule_tables(document: dict, labels: list[str]) -> list[RuleTable]:
    """One table for each suite of rules, with the rules that have a result, in the order of the suite."""
    tables = [RuleTable(suite["name"], _rows(suite, document["tests"], labels)) for suite in document.get("suites", [])]
    return [table for table in tables if table.rows]


def _rows(suite: dict, tests: list[dict], labels: list[str]) -> list[RuleRow]:
    found: dict[str, dict[str, list[str]]] = {}  # rule -> implementation -> verdicts
    for test in tests:
        if test["suite"] == suite["name"]:
            found.setdefault(test["upstream_function"], {}).setdefault(test["implementation"], []).append(test["verdict"])
    return [RuleRow(rule["id"], rule["level"], rule["area"], rule["sentence"], rule["source"],
                    [_counts(found[rule["id"]].get(label, [])) for label in labels])
            for rule in suite.get("rules", []) if rule["id"] in found]


def _counts(verdicts: list[str]) -> dict[str, int]:
    return {name: verdicts.count(name) for name in VERDICTS if name in verdicts}
