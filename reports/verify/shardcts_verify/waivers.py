"""Waivers that the manifest lists: whether they held on the day of the run, and whether a test fails as they say."""
import operator
import re
from dataclasses import dataclass
from datetime import date, timedelta
from fnmatch import translate

from .documents import Fields
from .findings import Findings, reject
from .verdicts import Outcome

LONGEST = timedelta(days=183)  # about a release of PyTorch, with time to repair
WAIVABLE = ("fail", "incomplete", "diverged")  # what the events of all ranks show; nobody sees from them why a rank died
_FIELDS = ("place", "test", "implementation", "device", "verdict", "checks", "reason_contains", "owner", "reason", "evidence",
           "expires", "review_version", "versions")
_RELATIONS = {"<=": operator.le, ">=": operator.ge, "==": operator.eq, "<": operator.lt, ">": operator.gt}
_LINK = re.compile(r"https?://[^\s/]+\S*|docs/[\w./#-]+|suites/[\w./#-]+")


def numbers(version: str) -> list[int]:
    """Up to the first character that is no digit or dot: 2.13.0+cpu is [2, 13]."""
    found = [int(number) for number in re.match(r"(?:\d{1,9}(?:\.(?=\d))?)*", version)[0].split(".") if number]
    while found and found[-1] == 0:
        found.pop()
    return found


def in_range(version: str, text: str) -> bool:
    bounds = [re.fullmatch(r"(<=|>=|==|<|>)([0-9.]+)", bound) for bound in text.replace(" ", "").split(",")]
    return bool(numbers(version)) and all(
        bound and _RELATIONS[bound[1]](numbers(version), numbers(bound[2])) for bound in bounds)


@dataclass(frozen=True)
class Waiver:
    place: str
    test: str
    verdict: str
    checks: tuple[str, ...]
    reason_contains: str
    evidence: str
    expires: date | None
    review_version: str
    versions: str

    def names(self, test: str) -> bool:
        return re.fullmatch(translate(self.test.replace("[", "[[]")), test) is not None

    def why_over(self, day: date, version: str) -> str:
        """Empty: it holds."""
        if self.expires and day > self.expires:
            return f"expired on {self.expires}"
        if self.review_version and not (numbers(version) and numbers(version) < numbers(self.review_version)):
            return f"was to be looked at again in version {self.review_version}, this is {version or 'unknown'}"
        if self.versions and not in_range(version, self.versions):
            return f"is for versions {self.versions}, this is {version or 'unknown'}"
        return ""

    def why_other(self, outcome: Outcome) -> str:
        """What of the failure it does not say; empty: the test fails as it says."""
        if outcome.verdict != self.verdict:
            return f"says {self.verdict}, found {outcome.verdict}"
        if self.checks and not (outcome.checks and outcome.checks <= set(self.checks)):
            return f"names {', '.join(self.checks)}, found {', '.join(sorted(outcome.checks)) or 'no check'}"
        if self.reason_contains not in outcome.reason:
            return f"says {self.reason_contains!r}, found {outcome.reason!r}"
        return ""


def read_waivers(entries: list, day: date, version: str, findings: Findings) -> list[Waiver]:
    """Those of the manifest. Each must hold on the day of the run, have a link, and end within a release."""
    waivers = []
    for number, entry in enumerate(entries):
        place = f"manifest.json: waivers[{number}]"
        waiver = _read(Fields(entry, place, "manifest.form").only(*_FIELDS), place)
        over = waiver.why_over(day, version)
        if over:
            findings.add("waiver.expired", place, over)
        if not (waiver.expires or waiver.review_version or waiver.versions):
            findings.add("waiver.too-long", place, "never ends")
        if waiver.expires and waiver.expires - day > LONGEST:
            findings.add("waiver.too-long", place, f"until {waiver.expires}, more than {LONGEST.days} days after the run")
        if not _LINK.fullmatch(waiver.evidence):
            findings.add("waiver.link", place, f"evidence {waiver.evidence!r} is no link")
        waivers.append(waiver)
    return waivers


def _read(fields: Fields, place: str) -> Waiver:
    def text(key: str) -> str:
        return fields.take(key, (str, type(None))) or ""

    try:
        expires = date.fromisoformat(text("expires")) if text("expires") else None
    except ValueError:
        reject("manifest.form", place, f"expires {text('expires')!r} is no date")
    if fields.text("verdict") not in WAIVABLE:
        reject("manifest.form", place, f"a waiver of {fields.text('verdict')!r} cannot be certified")
    if not fields.texts("checks") and not text("reason_contains"):
        reject("manifest.form", place, "names neither checks nor a text of the reason")
    return Waiver(fields.text("place"), fields.text("test"), fields.text("verdict"), tuple(fields.texts("checks")),
                  text("reason_contains"), fields.text("evidence"), expires, text("review_version"), text("versions"))


def apply_waivers(waivers: list[Waiver], test: str, outcome: Outcome) -> tuple[Outcome, str]:
    """The outcome with the waiver that names the test, and why it does not fit (empty: it does, or none names it)."""
    waiver = next((waiver for waiver in waivers if waiver.names(test)), None)
    if waiver is None:
        return outcome, ""
    if outcome.verdict == "pass":
        return Outcome("unexpected_pass", f"passed, but {waiver.place} waives it"), ""
    if outcome.verdict not in (*WAIVABLE, "harness_error"):
        return outcome, ""
    other = waiver.why_other(outcome)
    return (outcome, f"{waiver.place} {other}") if other else (Outcome("waived", outcome.reason), "")
