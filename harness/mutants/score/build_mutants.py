"""The library of drawn mutants: built, and built again without those that do not compile."""

import json
import re
import subprocess

TARGET = "shardcts_reference_drawn"
ERROR = re.compile(rf"/{TARGET}/(?P<file>[^:\s]+):(?P<line>\d+):(?:\d+:)? error: (?P<what>.*)")
NUMBER = re.compile(r"SourceMutant\((\d+)\)")
MOST_BUILDS = 8


class BuildFailed(Exception):
    """For a reason that no mutant accounts for."""


def build(folder, mutants, jobs, say):
    """Leaves those that do not compile out of `mutants`, in place: `left_out` is what the compiler says."""
    drawn = folder / "mutation-score/drawn.json"
    drawn.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(MOST_BUILDS):
        drawn.write_text(json.dumps(mutants, indent=1))
        ended = subprocess.run(["cmake", "--build", folder, "--target", TARGET, "--parallel", str(jobs), "--", "-k", "0"],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if ended.returncode == 0:
            return
        refused = refused_mutants(ended.stdout, lambda file: _copy(folder, file))
        new = {number: what for number, what in refused.items() if "left_out" not in mutants[number]}
        if not new:
            raise BuildFailed(f"{TARGET} cannot be built:\n{ended.stdout[-4000:]}")
        say(f"build {attempt + 1}: {len(new)} mutants do not compile")
        for number, what in new.items():
            mutants[number]["left_out"] = what
    raise BuildFailed(f"{TARGET} still has mutants that do not compile after {MOST_BUILDS} builds")


def refused_mutants(output, lines_of):
    """{number: error}. An error stands in the line of its mutant, or a few lines below it."""
    refused = {}
    for error in ERROR.finditer(output):
        lines = lines_of(error["file"])
        line = min(int(error["line"]), len(lines))
        for place in range(line, max(line - 8, 0), -1):
            numbers = NUMBER.findall(lines[place - 1])
            if numbers:
                for number in numbers:
                    refused.setdefault(int(number), error["what"])
                break
    return refused


def _copy(folder, file):
    return (folder / "harness/mutants/schemata" / TARGET / file).read_text().splitlines()
