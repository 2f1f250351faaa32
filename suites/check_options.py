"""Lists what no test tries: operations that none calls, options that none gives, values that none gives to an option.

usage: python suites/check_options.py TRACES

TRACES are those of a run of all suites on the reference: OUT/traces/reference. Of an
option of type bool, or with a list of possible values, each value counts; of others, whether it is ever given. An option
that means the same in several operations counts for each of them: a test of one says nothing of the others. What
suites/untried_options.toml names, with a reason, may be missing; anything else is exit code 1, and so is a name there
that some test tries.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tomllib

SUITES = pathlib.Path(__file__).resolve().parent
TABLE = SUITES.parent / "harness" / "contract" / "operations.json"
BOOL = ("true", "false")


def default_of(field: dict):
    """What leaving it out means; None: nothing of the kind."""
    if "default" in field or field["type"] != "bool":
        return field.get("default")
    return "default true" in field.get("text", "")


class Options:
    """All of them, as OPERATION:ARGUMENT[.FIELD…][=VALUE], and which of them calls have given."""

    def __init__(self, document: dict):
        self._operations = {entry["name"]: entry for entry in document["operations"]}
        self._records = {entry["name"]: entry for entry in document["records"]}
        self.all = {name for operation in self._operations.values() for name in self._of_operation(operation)}
        self.tried: set[str] = set()

    def add_call(self, operation: str, arguments: dict) -> None:
        self.tried.add(operation)
        self._add(operation + ":", self._operations[operation]["arguments"], arguments, [])

    def _of_operation(self, operation: dict):
        yield operation["name"]
        yield from self._of_fields(operation["name"] + ":", operation["arguments"])

    def _of_fields(self, place: str, fields: list[dict]):
        for field in fields:
            name = place + field["name"]
            values = BOOL if field["type"] == "bool" else field.get("values", ())
            yield from (f"{name}={value}" for value in values)
            if not values and not field.get("required"):
                yield name
            if "record " in field["type"]:
                for record in self._cases(field["type"].split("record ")[-1]):
                    yield from self._of_fields(name + ".", self._records[record]["fields"])

    def _cases(self, record: str) -> list[str]:
        return sorted(set(self._records[record].get("cases", {record: record}).values()))

    def _add(self, place: str, fields: list[dict], given: dict, around: list[dict]) -> None:
        for field in fields:
            name, value = place + field["name"], given.get(field["name"], default_of(field))
            if value is None:
                continue
            if field["name"] in given:
                self.tried.add(name)
            self.tried.add(f"{name}={value if isinstance(value, str) else json.dumps(value)}")
            if "record " in field["type"]:
                by_name = field["type"].startswith("dict of ")
                self._add_record(name + ".", field["type"].split("record ")[-1],
                                 list(value.values()) if by_name else value, [*around, given])

    def _add_record(self, place: str, name: str, value, around: list[dict]) -> None:
        if isinstance(value, list):
            for element in value:
                self._add_record(place, name, element, around)
        if not isinstance(value, dict):
            return
        record = self._records[name]
        if "by" in record:
            chooser = next((level[record["by"]] for level in (value, *reversed(around)) if record["by"] in level), None)
            if chooser in record["cases"]:
                self._add_record(place, record["cases"][chooser], value, around)
            return
        self._add(place, record["fields"], value, around)


def options_of(traces: pathlib.Path) -> Options:
    options = Options(json.loads(TABLE.read_text()))
    blobs = traces.parent.parent / "blobs"
    for path in traces.rglob("rank-*.jsonl"):
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                entry = json.loads(line)
                if "op" in entry:
                    arguments = entry["args"]
                    if "$blob" in arguments:  # of more than 1 KiB
                        arguments = json.loads((blobs / arguments["$blob"]).read_text())
                    options.add_call(entry["op"], arguments)
    return options


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("traces", type=pathlib.Path)
    traces = parser.parse_args(arguments).traces
    options = options_of(traces)
    if not options.tried:
        parser.error(f"{traces}: no recordings")
    known = tomllib.loads((SUITES / "untried_options.toml").read_text())
    excused = {name for group in known["untried"] for name in group["names"]}
    untried = options.all - options.tried
    for what, names in (("no test tries", untried - excused), ("some test tries, or there is not", excused - untried)):
        for name in sorted(names):
            print(f"{what}: {name}")
    print(f"{len(options.all)} options and values, {len(options.all - untried)} of them tried, {len(excused)} excused")
    return 1 if untried != excused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
