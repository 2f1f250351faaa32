"""shardcts history RUNS…: how verdicts, parity and time have changed, run after run.

With --store FILE the runs are added to a file of JSON lines, one for each run and implementation, which is all that a
nightly job must keep: run folders may go.
"""
import argparse
import json
import sys
from pathlib import Path

from .boundary import run_as_command
from .load import InputError, read_text, validate
from .markdown import code, table, text
from .model import Report, read_report
from .verdicts import PROBLEMS, VERDICTS

MAX_STORE_BYTES = 64 << 20
KEYS = ("started", "commit", "implementation", "version", "torch", "complete", "seconds", "verdicts", "parity", "red")


def entries_of(report: Report) -> list[dict]:
    """What is kept of a run: an entry for each implementation."""
    run = report.run
    return [{"started": run["started"], "commit": run["suite_commit"], "implementation": each.label,
             "version": each.record["version"], "torch": run["environment"]["torch"], "complete": report.complete,
             "seconds": run["seconds"], "verdicts": {name: count for name, count in each.counts.items() if count},
             "parity": each.parity,
             "red": sorted(test["id"] for test in report.tests
                           if test["implementation"] == each.label and test["verdict"] in PROBLEMS)}
            for each in report.implementations]


def read_store(path: Path) -> list[dict]:
    """The entries of an earlier call; none when there is no such file."""
    if not path.exists() or path.is_file() and path.stat().st_size == 0:
        return []
    entries = []
    for number, line in enumerate(read_text(path, MAX_STORE_BYTES).removesuffix("\n").split("\n"), 1):
        place = f"{path}:{number}"
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{place}: {error}") from None
        if not isinstance(entry, dict) or set(entry) != set(KEYS):
            raise InputError(f"{place}: is no entry of a history")
        validate(entry, "history.schema.json", place)
        entries.append(entry)
    return entries


def merge_entries(stored: list[dict], new: list[dict]) -> list[dict]:
    """In the order of time; a run that is already there is not added again."""
    by_key = {(entry["started"], entry["implementation"]): entry for entry in [*stored, *new]}
    return [by_key[key] for key in sorted(by_key)]


def render_markdown(entries: list[dict]) -> str:
    parts = ["# History"]
    for label in dict.fromkeys(entry["implementation"] for entry in entries):
        own = [entry for entry in entries if entry["implementation"] == label]
        names = [name for name in VERDICTS if any(name in entry["verdicts"] for entry in own)]
        rows = [_row(entry, names) for entry in own]
        parts += [f"## {code(label)}", table(["started", "commit", "version", *names, "seconds", "differs"], rows)]
        parts += _changes(own)
    return "\n\n".join(parts) + "\n"


def _row(entry: dict, names: list[str]) -> list[str]:
    differs = sum(sums["different"] + sums["structural"] for sums in entry["parity"].values())
    started = text(entry["started"]) + ("" if entry["complete"] else " (incomplete)")
    return [started, code(entry["commit"][:12]), text(entry["version"]),
            *(str(entry["verdicts"].get(name, 0)) for name in names), f"{entry['seconds']:.0f}",
            str(differs) if entry["parity"] else ""]


def _changes(own: list[dict]) -> list[str]:
    lines = []
    for before, after in zip(own, own[1:]):
        for sign, names in (("red", sorted(set(after["red"]) - set(before["red"]))),
                            ("no longer red", sorted(set(before["red"]) - set(after["red"])))):
            if names:
                lines.append(f"* {text(after['started'])}: {len(names)} {sign}, as {code(names[0])}")
    return ["\n".join(lines)] if lines else []


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="shardcts history", description="How runs have changed in the course of time.")
    parser.add_argument("folders", type=Path, nargs="*", help="run folders")
    parser.add_argument("--store", type=Path, help="a file of JSON lines: its runs are shown, too, and the new ones added")
    parser.add_argument("--format", choices=("markdown", "json"), default="markdown")
    options = parser.parse_args(arguments)
    if not options.folders and not options.store:
        raise InputError("nothing to show: give run folders, or --store FILE")
    stored = read_store(options.store) if options.store else []
    entries = merge_entries(stored, [entry for folder in options.folders for entry in entries_of(read_report(folder))])
    if options.store:
        temporary = options.store.with_name(options.store.name + ".tmp")
        temporary.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
        temporary.replace(options.store)
    print(render_markdown(entries) if options.format == "markdown" else json.dumps(entries, indent=1, ensure_ascii=False) + "\n", end="")
    return 0


if __name__ == "__main__":
    sys.exit(run_as_command(main))
