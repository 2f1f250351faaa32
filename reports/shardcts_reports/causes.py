"""Results that are problems, grouped by what seems to be their cause: 322 red rows often have a few dozen of them."""
import re
from dataclasses import dataclass, field

from .verdicts import PROBLEMS, VERDICTS

_LONGEST = 300  # characters of a message that two results of one cause have in common

# "dsd.get_model_state_dict: RuntimeError: …"
_OPERATION = re.compile(r"\b([a-z_]+\.[a-z_]+): (?=[A-Z]\w*: |an option )")
# Of a test with phases: which of them it was, and where its files are.
_PHASE = re.compile(r"^phase \d+ of \d+ \([^()]*\): ")
_FOLDER = re.compile(r"; its folder: \S+")
_LISTED_NUMBERS = re.compile(r"([(\[])N(?:, N)*,?([)\]])")
_VARYING = [  # what differs among the results of one cause, and what stands for it
    (re.compile(r"(?<![\w/])(?:/[\w.+=,@~-]+){2,}/?"), "PATH"),
    (re.compile(r"\"[^\"]*\"|'[^']*'"), "…"),
    (re.compile(r"\bworld_size=\d+"), "world_size=N"),
    (re.compile(r"[-+]?\b0x[0-9a-fA-F.]+(?:p[-+]?\d+)?"), "N"),
    (re.compile(r"\b\w+(?:\.\w+)*\.[A-Za-z_]\w*(?:\.\w+)*"), "NAME"),
    (re.compile(r"[-+]?\b\d[\d.]*(?:e[-+]?\d+)?\b"), "N"),
]


@dataclass
class Cause:
    """Results of one implementation and verdict that failed at the same place with the same message."""
    implementation: str
    verdict: str
    place: str    # the operation that failed; else the check and its function or rule; empty: it was not run
    message: str  # without numbers and names
    tests: list[dict] = field(default_factory=list)

    @property
    def shown(self) -> str:
        """What the example says, in one line, without the place."""
        text = message_of(self.example)
        return text.removeprefix(f"{self.place}: ") if self.place else text

    @property
    def example(self) -> dict:
        """The one in the smallest world."""
        return min(self.tests, key=lambda test: test["world_size"])


def causes_of(tests: list[dict]) -> list[Cause]:
    """Of all problems, the largest first."""
    found: dict[tuple, Cause] = {}
    for test in tests:
        if test["verdict"] in PROBLEMS:
            key = (test["implementation"], test["verdict"], *_place_and_message(test))
            found.setdefault(key, Cause(*key)).tests.append(test)
    return sorted(found.values(), key=lambda cause: -len(cause.tests))


def message_of(test: dict) -> str:
    """What the first failure says, in one line; else the reason, which names the phase, or what its verdict means."""
    first = test["failures"][0]["message"] if test["failures"] and not test.get("phases") else test["reason"]
    return " ".join((first or VERDICTS[test["verdict"]].meaning).split())


def _place_and_message(test: dict) -> tuple[str, str]:
    failure = test["failures"][0] if test["failures"] else None
    text = (failure["message"] if failure else test["reason"] or "").split("\n")[0]
    text = _FOLDER.sub("", _PHASE.sub("", text))
    if test["verdict"] == "not_run":
        return "", _without_names(text)
    operation = _OPERATION.search(text)
    if operation:
        return operation[1], _without_names(text[operation.end():])
    check = failure["check"] if failure else ""
    where = f"{test['suite']}/{test['upstream_function']}"
    return f"{where} {check}" if check and check != test["upstream_function"] else where, _without_names(text)


def _without_names(text: str) -> str:
    for pattern, stand_in in _VARYING:
        text = pattern.sub(stand_in, text)
    return _LISTED_NUMBERS.sub(r"\1N\2", text)[:_LONGEST]
