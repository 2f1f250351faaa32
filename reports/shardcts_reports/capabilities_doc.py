"""python -m shardcts_reports.capabilities_doc --check | --write SHARDCTS: docs/capabilities.md, from
harness/contract/operations.json and the tests that the program SHARDCTS lists."""
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from .boundary import run_as_command
from .contract_doc import ROOT, TABLE, check_table
from .generated_page import check_or_write
from .load import load_json
from .markdown import table
from .prose import cell

DOCUMENT = ROOT / "docs" / "capabilities.md"

INTRODUCTION = """\
# Capabilities

<!-- Made from harness/contract/operations.json and the inventories by
`python -m shardcts_reports.capabilities_doc --write build/shardcts`. Do not edit. -->

An implementation declares what it can do; a test that needs more is *not supported*, and neither
green nor red. Capabilities are a tree: `fsdp1.sharded` is a part of `fsdp1`.

* Whoever declares a name has all of its parts. `-fsdp1.sharded` excludes one.
* Whoever declares a part, `fsdp1.full`, has what `fsdp1` means by itself, and no other part.
* What is declared by its own name cannot be refused as a `NotSupported` option
  ([contract](contract.md#capabilities)); a part that follows from a name above it can.

A library whose units have whole state dicts only, and keep the original parameters, declares

    capabilities = ["core", "optimizer", "fsdp1.full", "fsdp1.summon", "fsdp1.use_orig_params"]

and one that lacks a single option declares

    capabilities = ["core", "optimizer", "fsdp1", "-fsdp1.cpu_offload"]

A test needs what follows from its parameters and world sizes: the kind of state dict, strategy,
options, dtypes, parameter groups, operations. `suites/check_needs.py` compares this with the
recordings of a run, operation by operation. `shardcts list --json` shows what each test needs, and
`shardcts capabilities --impl NAME` which tests a declaration opens, and whether it holds.

`tests` is the number of tests that need the capability, of {total} that apply. Upstream's name is
that of PyTorch's own tests, `Capability.NAME` of `torch.testing._internal.common_device_type`.
"""


def tests_by_capability(tests: list[dict]) -> Counter:
    return Counter(name for test in tests if not test["not_applicable"] for name in set(test["capabilities"]))


def render(document: dict, tests: list[dict]) -> str:
    """docs/capabilities.md as text."""
    counts = tests_by_capability(tests)
    total = sum(not test["not_applicable"] for test in tests)
    rows = [[f"`{entry['name']}`", cell(entry["text"]), str(counts[entry["name"]]),
             f"`{entry['upstream']}`" if "upstream" in entry else ""] for entry in document["capabilities"]]
    return (INTRODUCTION.format(total=total).strip("\n") + "\n\n"
            + table(["capability", "what it covers", "tests", "upstream's name"], rows).strip("\n") + "\n")


def main(arguments: list[str]) -> int:
    *option, program = arguments or [""]

    def text() -> str:
        document = load_json(TABLE)
        check_table(document)
        listed = subprocess.run([str(Path(program).resolve()), "list", "--json"], capture_output=True, check=True)
        return render(document, json.loads(listed.stdout))
    return check_or_write(option, "capabilities_doc", DOCUMENT, text)


if __name__ == "__main__":
    sys.exit(run_as_command(main))
