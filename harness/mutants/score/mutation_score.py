"""The mutation score of the suites: changes of the reference at random, and which of them the suites notice.

    python harness/mutants/score/mutation_score.py --build build --count 100 --out out/mutation-score
        [--seed N] [--suite NAME …] [--world N …] [--tests N] [--timeout SECONDS] [--jobs N]

Writes OUT/score.json and OUT/score.md: what noticed each mutant, and the survivors with file, line and change. A survivor
is an equivalent program, or a test is missing: that is for a person to say. Exit code 0, whatever the score; 2: wrong
input, or the build or the unchanged copy fails. The seed is printed; the same seed and sources give the same mutants.
"""

import argparse
import collections
import json
import random
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "schemata")]

import build_mutants  # noqa: E402
import measure  # noqa: E402
import random_mutants  # noqa: E402
import schemata  # noqa: E402

FATES = ("killed", "survived", "incompetent", "not reached", "does not compile")


def options_of(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, required=True, help="a build folder with shardcts and the reference")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100, help="mutants that are drawn")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--suite", action="append", default=[])
    parser.add_argument("--world", action="append", default=[])
    parser.add_argument("--tests", type=int, default=None, help="at most so many tests for each mutant (default: all that reach it)")
    parser.add_argument("--timeout", type=float, default=30, help="seconds that one test may take")
    parser.add_argument("--jobs", type=int, default=measure.jobs_here())
    options = parser.parse_args(arguments)
    options.build, options.out = options.build.resolve(), options.out.resolve()
    options.selection = [word for suite in options.suite for word in ("--suite", suite)]
    options.selection += [word for world in options.world for word in ("--world", world)]
    return options


def is_left_out(file):
    """Programs beside the library: no test of a suite can reach them."""
    return schemata.is_of_tests(file) or "fuzz" in file.parts


def fates(mutants, reach, rows):
    """What became of each mutant, in the order of `mutants`."""
    judged = []
    for number, mutant in enumerate(mutants):
        row = rows.get(mutant["name"])
        if "left_out" in mutant:
            fate, by = "does not compile", []
        elif row is None:
            fate, by = "not reached", []
        else:
            fate, by = row["verdict"], row["killed_by"]
        judged.append({"name": mutant["name"], "kind": mutant["models"], "change": mutant["breaks"], "fate": fate,
                       "killed_by": by[:3], "reached_by": len(reach.get(number, ()))})
    return judged


def counts_of(judged):
    counts = collections.Counter(one["fate"] for one in judged)
    return {fate: counts[fate] for fate in FATES}


def markdown(judged, seed, selection):
    """The table that a person reads."""
    counts = counts_of(judged)
    judged_ones = sum(counts[fate] for fate in FATES if fate != "does not compile")
    text = [f"# Mutation score\n\nSeed {seed}, selection: {' '.join(selection) or 'all tests'}.\n",
            f"{counts['killed']} of {judged_ones} mutants killed"
            + (f" ({100 * counts['killed'] / judged_ones:.0f} %)" if judged_ones else "")
            + "; " + ", ".join(f"{counts[fate]} {fate}" for fate in FATES[1:]) + ".\n"]
    for fate in ("survived", "incompetent", "not reached"):
        rows = [one for one in judged if one["fate"] == fate]
        if rows:
            text.append(f"\n## {fate.capitalize()}\n\n| mutant | kind | change | tests that reach it |\n| --- | --- | --- | --- |")
            text += [f"| {one['name']} | {one['kind']} | `{escaped(one['change'])}` | {one['reached_by']} |" for one in rows]
    text.append("\n## Killed\n\n| mutant | change | first killed by |\n| --- | --- | --- |")
    for one in judged:
        if one["fate"] == "killed":
            first = one["killed_by"][0]
            text.append(f"| {one['name']} | `{escaped(one['change'])}` | {first['test']} {first['check'] or ''} |")
    return "\n".join(text) + "\n"


def escaped(change):
    return change.replace("|", "\\|").replace("`", "'")


def main(arguments=None):
    options = options_of(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    say = lambda text: print(text, flush=True)  # noqa: E731
    say(f"seed {options.seed}")
    sources = HERE.parents[2] / "reference_impl"
    mutants = random_mutants.draw(sources, options.count, options.seed, is_left_out)
    try:
        build_mutants.build(options.build, mutants, options.jobs, say)
        program = measure.program_beside(options.build)
        reach, seconds = measure.find_reach(program, options.selection, options.out)
        rows = measure.find_kills(program, mutants, reach, seconds, options, options.out, say)
    except (build_mutants.BuildFailed, measure.MeasureFailed) as problem:
        print(problem, file=sys.stderr)
        return 2
    judged = fates(mutants, reach, rows)
    (options.out / "score.json").write_text(json.dumps(
        {"seed": options.seed, "selection": options.selection, "counts": counts_of(judged), "mutants": judged}, indent=1))
    (options.out / "score.md").write_text(markdown(judged, options.seed, options.selection))
    say(", ".join(f"{count} {fate}" for fate, count in counts_of(judged).items()))
    say(f"table: {options.out / 'score.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
