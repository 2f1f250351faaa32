"""How much of what each capability covers was tested, and what came out: "8 of 497" before "all green"."""
from dataclasses import dataclass

from .verdicts import PROBLEMS

PASSED = frozenset({"pass", "waived"})


@dataclass
class Share:
    """The results of one implementation in tests that need a capability; without those that upstream itself leaves out."""
    tests: int = 0
    passed: int = 0
    problems: int = 0

    @property
    def tone(self) -> str:
        if self.problems:
            return "bad"
        return "good" if self.passed == self.tests else "warn" if self.passed else "neutral"

    @property
    def text(self) -> str:
        problems = f", {self.problems} problem{'' if self.problems == 1 else 's'}" if self.problems else ""
        return f"{self.passed} of {self.tests} pass{problems}"


def coverage(tests: list[dict], labels: list[str]) -> list[tuple[str, list[Share]]]:
    """By capability the shares of these implementations; empty for results of a version that did not name capabilities."""
    found: dict[str, dict[str, Share]] = {}
    for test in tests:
        if test["verdict"] == "not_applicable":
            continue
        for capability in test.get("capabilities", []):
            shares = found.setdefault(capability, {label: Share() for label in labels})
            share = shares[test["implementation"]]
            share.tests += 1
            share.passed += test["verdict"] in PASSED
            share.problems += test["verdict"] in PROBLEMS
    return [(name, list(shares.values())) for name, shares in sorted(found.items())]
