"""The verdicts: symbol, tone and meaning of each; docs/verdicts.md explains them at length."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    name: str
    symbol: str
    tone: str  # good, neutral, warn, bad, broken: which color it gets
    meaning: str

    @property
    def label(self) -> str:
        return self.name.replace("_", " ")


_ALL = (
    Verdict("pass", "✓", "good", "Every expected check was evaluated on every expected rank and held."),
    Verdict("fail", "✗", "bad", "A check failed, or an operation gave an error that the test does not expect."),
    Verdict("advice", "△", "warn", "A rule of level SHOULD does not hold."),
    Verdict("incomplete", "◐", "bad", "Nothing failed, but an expected check was not evaluated."),
    Verdict("not_supported", "○", "neutral",
            "The implementation does not declare a capability that the test needs, or answers that an option is not supported."),
    Verdict("not_applicable", "–", "neutral", "Upstream itself does not run this combination."),
    Verdict("waived", "⚑", "warn", "Fails as a valid waiver says."),
    Verdict("unexpected_pass", "‼", "bad", "A waiver says that it fails, but it passed: the waiver must go."),
    Verdict("crash", "✸", "broken", "A rank died during the test."),
    Verdict("hang", "∞", "broken", "The test did not end before its deadline."),
    Verdict("diverged", "⇄", "broken", "The ranks disagree on the operations they ran or on the verdict."),
    Verdict("harness_error", "⚠", "broken", "A fault of ShardCTS, never of the implementation."),
    Verdict("not_run", "∅", "broken", "Selected, but not run: its pool did not start or the run was interrupted."),
)

VERDICTS = {verdict.name: verdict for verdict in _ALL}

# Verdicts that a run with exit code 0 may contain, and those that are counted separately (design of the exit codes).
GREEN = frozenset({"pass", "not_applicable", "waived"})
APART = frozenset({"advice", "not_supported"})
PROBLEMS = tuple(name for name in VERDICTS if name not in GREEN | APART)

# A further verdict of a single rank: it stopped because a peer had failed.
RANK_ONLY = {"aborted": Verdict("aborted", "·", "neutral", "This rank stopped because a peer had failed.")}
