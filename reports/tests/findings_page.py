"""docs/findings.md: what a verifier may find, and what was done to bundles to see that it does."""
from pathlib import Path

import bad_bundles
import bad_proofs  # noqa: F401 (registers what it forges)
import bad_runs  # noqa: F401
from bad_archives import RAW
from shardcts_reports.markdown import table
from shardcts_verify.findings import MEANINGS

PAGE = Path(__file__).resolve().parents[2] / "docs/findings.md"

HEAD = """\
# What the verifier finds

<!-- Made by reports/tests/verify_test.py with `--update-baselines`. -->

`shardcts verify` and `shardcts-verify` print one line for each fault of a bundle: its name, the
place, and what was found there. Findings that follow from others are not printed: the first stage
with a finding ends the verification. [certification.md](certification.md) explains bundles.

## Findings
"""

MANIPULATIONS = """\
## Bundles that were tampered with

The verifier is tested with {count} bundles that were made from a good one. Each must give its
finding and no other. Those marked *sealed* have right hashes, as a forger would make them.
"""


def render() -> str:
    names = [[f"`{name}`", meaning] for name, meaning in MEANINGS.items()]
    rows = [[what, "sealed", f"`{finding}`"] for what, (finding, _) in bad_bundles.FORGED.items()]
    rows += [[what, "", f"`{finding}`"] for what, (finding, _) in RAW.items()]
    rows.sort(key=lambda row: list(MEANINGS).index(row[2].strip("`")))
    return "\n".join([HEAD, table(["finding", "meaning"], names), "", MANIPULATIONS.format(count=len(rows)),
                      table(["what was done", "", "finding"], rows)]) + "\n"
