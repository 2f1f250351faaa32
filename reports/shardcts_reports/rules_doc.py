"""python -m shardcts_reports.rules_doc --check | --write: docs/rules.md from suites/extended/rules/*.json."""
import re
import sys
from pathlib import Path

from .boundary import run_as_command
from .generated_page import check_or_write
from .load import InputError, load_json
from .markdown import table
from .prose import cell

ROOT = Path(__file__).resolve().parent.parent.parent
SUITE = ROOT / "suites" / "extended"
DOCUMENT = ROOT / "docs" / "rules.md"

INTRODUCTION = """\
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


def read_areas(suite: Path = SUITE) -> list[dict]:
    """The areas in the order of the suite's CMakeLists.txt, those without rules left out."""
    listed = re.search(r"\bRULES\s+([a-z_\s]+)\)", (suite / "CMakeLists.txt").read_text(encoding="utf-8"))
    if listed is None:
        raise InputError(f"{suite / 'CMakeLists.txt'}: lists no RULES")
    areas = [load_json(suite / "rules" / f"{name}.json") for name in listed[1].split()]
    return [area for area in areas if area["rules"]]


def render(areas: list[dict]) -> str:
    """docs/rules.md as text."""
    parts = [INTRODUCTION.format(count=sum(len(area["rules"]) for area in areas))]
    for area in areas:
        rows = [[rule["id"], rule["level"], cell(rule["sentence"]), cell(rule["bites_with"]), _worlds(rule), cell(rule["source"])]
                for rule in area["rules"]]
        parts += [f"## {area['area']}", table(["id", "level", "rule", "bites with", "worlds", "source"], rows)]
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
    return check_or_write(arguments, "rules_doc", DOCUMENT, lambda: render(read_areas()))


if __name__ == "__main__":
    sys.exit(run_as_command(main))
