"""python -m shardcts_reports.rules_doc --check | --write: docs/rules.md and docs/storage_rules.md from the suites' rules."""
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from .boundary import run_as_command
from .generated_page import check_or_write
from .load import InputError, load_json
from .markdown import table
from .prose import cell

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"

EXTENDED = """\
# The rules of the suite extended

<!-- Made from suites/extended/rules by `python -m shardcts_reports.rules_doc --write`. -->

The suite `extended` tests what upstream's files do not test: {count} rules, each one sentence about
state dicts in memory. A rule has a test for each of its cases: wrapper, form of state dict, world
size. `shardcts list --suite extended` lists them; `--filter /GE1/` selects those of one rule.

* **MUST**: the contract or PyTorch's documentation says so, or data are lost or silently wrong
  otherwise. A violation is a failure.
* **SHOULD**: desirable. A violation is `advice`: shown and counted apart, red only with
  `--require-should` ([verdicts](verdicts.md)).

Expected values never come from the code under test: they are closed formulas, or come from the same
model without wrappers, or are the state before. Where PyTorch breaks a rule,
[deviations.md](deviations.md) says so.
"""

STORAGE = """\
# The rules of the suite storage

<!-- Made from suites/storage/rules by `python -m shardcts_reports.rules_doc --write`. -->

The suite `storage` tests checkpoints, that is, state dicts that are saved to a folder and loaded
from it: {count} rules, each one sentence. A rule has a test for each of its cases.
`shardcts list --suite storage` lists them; `--filter storage/RT1/` selects those of one rule.

* **MUST** and **SHOULD** are those of [the suite extended](rules.md).
* **core**: what every use needs. **durable**: crashes, full disks, loss of power. **hardened**:
  files that are damaged or made to do harm.

What is saved is position-coded, or comes from a model without wrappers, and which part of it a rank
must get is a formula: expected values never come from the code under test. Smaller worlds are some
of a pool's ranks. Where PyTorch breaks a rule, [deviations.md](deviations.md) says so.
"""


@dataclass(frozen=True)
class Page:
    """Of one suite of rules."""

    suite: str
    name: str
    introduction: str

    @property
    def folder(self) -> Path:
        return ROOT / "suites" / self.suite


PAGES = [Page("extended", "rules.md", EXTENDED), Page("storage", "storage_rules.md", STORAGE)]


def read_areas(suite: Path) -> list[dict]:
    """The areas in the order of the suite's CMakeLists.txt, those without rules left out."""
    listed = re.search(r"\bRULES\s+([a-z_\s]+)\)", (suite / "CMakeLists.txt").read_text(encoding="utf-8"))
    if listed is None:
        raise InputError(f"{suite / 'CMakeLists.txt'}: lists no RULES")
    areas = [load_json(suite / "rules" / f"{name}.json") for name in listed[1].split()]
    return [area for area in areas if area["rules"]]


def render(page: Page) -> str:
    """The page as text."""
    areas = read_areas(page.folder)
    parts = [page.introduction.format(count=sum(len(area["rules"]) for area in areas))]
    for area in areas:
        has_profiles = any("profile" in rule for rule in area["rules"])
        columns = ["id", "level", *(["profile"] if has_profiles else []), "rule", "bites with", "worlds", "source"]
        rows = [[rule["id"], rule["level"], *([rule.get("profile", "")] if has_profiles else []), cell(rule["sentence"]),
                 cell(rule["bites_with"]), _worlds(rule), cell(rule["source"])] for rule in area["rules"]]
        parts += [f"## {area['area']}", table(columns, rows)]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _worlds(rule: dict) -> str:
    """World sizes; of phases "1, 2 → 3": those of each phase."""
    sizes, chains = set(), {}
    for case in rule["cases"]:
        owner = case if "phases" in case or "world_sizes" in case else rule
        sizes.update(owner.get("world_sizes", []))
        if "phases" in owner:
            chains[" → ".join(_listed(phase["world"]) for phase in owner["phases"])] = None
    return "; ".join(filter(None, [_listed(sizes), *chains]))


def _listed(sizes) -> str:
    return ", ".join(map(str, sorted(sizes if isinstance(sizes, (list, set)) else [sizes])))


def main(arguments: list[str]) -> int:
    return max(check_or_write(arguments, "rules_doc", DOCS / page.name, lambda page=page: render(page)) for page in PAGES)


if __name__ == "__main__":
    sys.exit(run_as_command(main))
