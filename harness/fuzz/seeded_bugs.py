"""Which seeded bugs `shardcts fuzz` finds, by its rules alone, and how soon: the table of docs/fuzzing.md.

    python harness/fuzz/seeded_bugs.py --build build --seed 1 --random 40 --seconds 120 --out out/seeded

The bugs are those of the reference's sources (harness/mutants/source) but the ones in storage: all that no test of the
suites notices, though something could show them, and as many more, drawn at random, as --random says. A line of OUT/seeded_bugs.jsonl for each, so that a
run goes on where it ended; OUT/seeded_bugs.md is the table.
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import time
import tomllib
from pathlib import Path

from shardcts_fuzz.streams import Stream

HIDDEN = ("equivalent", "allowed", "not reached")  # how the reason begins why nothing notices a bug that nothing shows
SOURCES = Path(__file__).resolve().parents[1] / "mutants/source"


def bugs():
    """{name: its description} of all that a program without storage can show."""
    found = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(SOURCES.glob("*.toml"))}
    return {name: bug for name, bug in found.items() if not any(one["file"].startswith("storage/") for one in bug["change"])}


def is_hidden(bug):
    return bug.get("unnoticed", "").startswith(HIDDEN)


def draw(names, count, seed):
    stream, rest, drawn = Stream("seeded bugs", seed), sorted(names), []
    while rest and len(drawn) < count:
        drawn.append(rest.pop(stream.below(len(rest))))
    return drawn


def look_for(name, options):
    """Whether it was found, by what, after how many programs and seconds."""
    out = options.out / "runs" / name
    shutil.rmtree(out, ignore_errors=True)
    start = time.monotonic()
    mutated = (options.build / "libshardcts_reference_mutants.so").resolve()
    done = subprocess.run([options.build / "shardcts", "fuzz", "--impl", f"{mutated},source_mutant={name}", "--seconds", str(options.seconds),
                           "--seed", str(options.seed), "--until-found", "--shrink-seconds", "0", "--jobs", str(options.jobs),
                           "--out", out], capture_output=True, text=True, check=False)  # fmt: skip
    took = time.monotonic() - start
    if done.returncode not in (0, 1):
        return {"bug": name, "error": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    summary = json.loads((out / "fuzz.json").read_text(encoding="utf-8"))
    shutil.rmtree(out / "work", ignore_errors=True)
    groups = [one["rule"] or one["oracle"] for one in summary["findings"]]
    return {"bug": name, "found": bool(groups), "by": sorted(set(groups)), "programs": summary["programs"], "seconds": round(took, 1)}


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def table(lines, known):
    """Of the lines, in Markdown."""
    for title, part in (("Noticed by no test", [line for line in lines if "unnoticed" in known[line["bug"]]]),
                        ("Drawn at random", [line for line in lines if "unnoticed" not in known[line["bug"]]])):  # fmt: skip
        found = [line for line in part if line.get("found")]
        median = f", median {statistics.median(line['seconds'] for line in found):.0f} s" if found else ""
        yield from (f"{title}: {len(found)} of {len(part)} found{median}.", "", "| seeded bug | found by | programs | seconds |",
                    "| --- | --- | --- | --- |")  # fmt: skip
        for line in part:
            by = line.get("error") or ", ".join(line["by"]) or "**not found**"
            breaks = re.sub(r"\|", "\\\\|", known[line["bug"]]["breaks"])
            yield f"| `{line['bug']}`: {breaks} | {by} | {line.get('programs', '')} | {line.get('seconds', '')} |"
        yield ""


def main(arguments):
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parse.add_argument("--build", type=Path, default=Path("build"))
    parse.add_argument("--seed", type=int, default=1, help="of the draw, and of the programs")
    parse.add_argument("--random", type=int, default=40, metavar="N")
    parse.add_argument("--seconds", type=float, default=120.0, help="for each bug")
    parse.add_argument("--jobs", type=int, default=2)
    parse.add_argument("--only", nargs="*", metavar="BUG", help="these, in place of the draw")
    parse.add_argument("--out", type=Path, required=True)
    options = parse.parse_args(arguments)
    known = bugs()
    unnoticed = [name for name, bug in known.items() if "unnoticed" in bug]
    chosen = [*draw(set(known) - set(unnoticed), options.random, options.seed), *(one for one in unnoticed if not is_hidden(known[one]))]
    chosen = options.only or chosen
    options.out.mkdir(parents=True, exist_ok=True)
    kept = options.out / "seeded_bugs.jsonl"
    print(f"seed {options.seed}: {len(chosen)} of {len(known)} bugs", flush=True)
    for name in chosen:
        if name not in {line["bug"] for line in read_lines(kept)}:
            line = look_for(name, options)
            with open(kept, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)
    (options.out / "seeded_bugs.md").write_text("\n".join(table(read_lines(kept), known)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
