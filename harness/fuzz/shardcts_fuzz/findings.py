"""Findings: what a program showed, and by what they are grouped."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    oracle: str  # "rule", "baseline", "ends" (crash, hang, divergence)
    suspect: str  # the source of the implementation that is at fault, as far as one can tell
    rule: str  # id in docs/rules.md; "" of the baseline's
    action: str
    op: str
    difference: str  # its class: "keys", "bits", "RuntimeError for a value", …
    text: str  # for people: rank, path, expected, actual
    let: str  # the step
    tags: tuple = ()
    wrapper: str = ""
    legal: bool = True  # every step of its program succeeded that was not meant to fail

    def signature(self):
        """What shrinking keeps, and findings of one cause share."""
        return (self.oracle, self.suspect, self.rule, self.op, self.difference)

    def group(self):
        """Findings of one list entry: the signature and the family of the wrapper."""
        return (*self.signature(), self.wrapper.split(",")[0].split("+")[0])


def area_of(rule):
    return rule.rstrip("0123456789")


def without_numbers(message):
    """The message without what differs between programs of one cause: names, numbers, addresses."""
    line = message.strip().splitlines()[0] if message.strip() else ""
    line = re.sub(r"0x[0-9a-f]+", "N", line)
    line = re.sub(r"'[^']*'|\"[^\"]*\"|\[[^\]]*\]|\([^)]*\)|\{[^}]*\}", "…", line)
    return re.sub(r"\d+", "N", line)[:70]


def error_class(outcome):
    error = outcome["error"]
    return f"{error['kind']}: {without_numbers(error.get('message', ''))}"
