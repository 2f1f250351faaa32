"""Compares what tests say they need with what they use: the operations and options of their recordings.

usage: python suites/check_needs.py RUN --shardcts build/shardcts [--unused]

RUN is the folder of a run of an implementation that has everything (the reference), with traces. A capability that a
test uses and does not name as a need is an error, exit code 1: an implementation without it would fail in place of being
told `not_supported`. With --unused, needs that no recording uses are listed, too; they only hide tests.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
from collections import defaultdict

TABLE = pathlib.Path(__file__).resolve().parent.parent / "harness" / "contract" / "operations.json"
HALF = ("float16", "bfloat16")
LAYERS = {"fsdp": "fsdp1.no_root", "fully_shard": "fsdp2.no_root"}  # wrapper -> of models whose root it does not wrap


class Table:
    def __init__(self, document: dict):
        self.operations = {entry["name"]: entry for entry in document["operations"]}
        self.records = {entry["name"]: entry for entry in document["records"]}

    def of_call(self, operation: str, arguments: dict) -> set[str]:
        """What the call needs, by the operation and the values of its arguments."""
        entry = self.operations[operation]
        return {entry["capability"]} | self._of_fields(entry["arguments"], arguments, [])

    def _of_fields(self, fields: list[dict], given: dict, around: list[dict]) -> set[str]:
        used = set()
        for field in fields:
            value = given.get(field["name"])
            if value is None or value == field.get("default"):
                continue
            by_value = field.get("capabilities", {})
            text = value if isinstance(value, str) else json.dumps(value)
            used |= {by_value[key] for key in ("any", text) if key in by_value}
            if "record " in field["type"]:
                used |= self._of_record(field["type"].split("record ")[-1], value, [*around, given])
        return used

    def _of_record(self, name: str, value, around: list[dict]) -> set[str]:
        if isinstance(value, list):
            return set().union(*(self._of_record(name, element, around) for element in value))
        if not isinstance(value, dict):
            return set()
        record = self.records[name]
        if "by" in record:
            chooser = next((level[record["by"]] for level in (value, *reversed(around)) if record["by"] in level), None)
            return self._of_record(record["cases"][chooser], value, around) if chooser in record["cases"] else set()
        return self._of_fields(record["fields"], value, around)


class Recording:
    """What one rank's recording uses."""

    def __init__(self, table: Table, lines):
        self._table = table
        self._made = {}  # step -> what it has made
        self._wrapped = defaultdict(lambda: defaultdict(set))  # model -> wrapper -> paths
        self._types = []  # of state dicts, the current one last
        self.used: set[str] = set()
        head = json.loads(next(lines))
        self.test = head["test"]
        if head["world_size"] == 1:
            self.used.add("core.one_rank")
        for line in lines:
            entry = json.loads(line)
            if "op" in entry:
                self._add(entry["step"], entry["op"], entry["args"])
        for wrapped in self._wrapped.values():
            self.used |= {LAYERS[wrapper] for wrapper, paths in wrapped.items() if wrapper in LAYERS and "" not in paths}

    def _add(self, step: int, operation: str, arguments: dict) -> None:
        self.used |= self._table.of_call(operation, arguments)
        if operation in ("model.build", "model.to") and any(dtype in json.dumps(arguments) for dtype in HALF):
            self.used.add("core.half")
        if operation == "group.new" and len(arguments["ranks"]) == 1:
            self.used.add("core.one_rank")
        if operation == "model.wrap":
            model = json.dumps(arguments["model"])
            self._wrapped[model][arguments["wrapper"]].add(arguments["path"])
        wrapped = self._wrapped.get(json.dumps(arguments.get("model")), {})
        if operation in ("model.state_dict", "model.load_state_dict") and not self._types and wrapped.get("fsdp"):
            self.used.add("fsdp1.full")  # which is the type of a fresh unit
        if operation == "model.load_state_dict" and wrapped.get("fully_shard"):
            self.used.add("fsdp2.load")
        if operation in ("fsdp.state_dict_type", "fsdp.set_state_dict_type"):
            self._types.append(arguments["type"])
        if operation == "scope.exit" and self._types:
            self._types.pop()
        if operation == "fsdp.optim_state_dict":
            self.used.add("fsdp1_optim." + (self._types[-1] if self._types else "FULL").lower())


def used_by_test(run: pathlib.Path) -> dict[str, set[str]]:
    table = Table(json.loads(TABLE.read_text()))
    used = defaultdict(set)
    for path in sorted((run / "traces").rglob("rank-*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            recording = Recording(table, lines)
        used[recording.test] |= recording.used
    return used


def with_parents(names: set[str]) -> set[str]:
    return names | {name[:at] for name in names for at, letter in enumerate(name) if letter == "."}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--shardcts", required=True)
    parser.add_argument("--unused", action="store_true")
    options = parser.parse_args(arguments)
    listed = subprocess.run([options.shardcts, "list", "--json"], check=True, capture_output=True, text=True).stdout
    needed = {test["id"]: set(test["capabilities"]) for test in json.loads(listed) if not test["not_applicable"]}
    used = used_by_test(options.run)
    missing, unused = defaultdict(list), defaultdict(list)
    for test in sorted(used.keys() & needed.keys()):
        for name in with_parents(used[test]) - needed[test] - {"core"}:  # which every implementation has
            missing[name].append(test)
        for name in needed[test] - with_parents(used[test]):
            unused[name].append(test)
    for what, found in (("used, but not needed", missing), *([("needed, but not used", unused)] if options.unused else [])):
        for name, tests in sorted(found.items()):
            print(f"{what}: {name}: {len(tests)} tests, as {tests[0]}")
    print(f"{len(used)} recorded tests of {len(needed)} that apply; {sum(map(len, missing.values()))} needs are missing")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
