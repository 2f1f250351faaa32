"""Chooses programs of a seed that together try much in little: for harness/fuzz/corpus.

    python harness/fuzz/choose_corpus.py --seed 1 --of 1000 --choose 16 --out harness/fuzz/corpus

Each next one has the most new pairs for its size. Programs that take long on PyTorch or rely on known deviations are not
left out: the corpus is for every implementation.
"""

import argparse
import os
import sys

from shardcts_fuzz.corpus import text
from shardcts_fuzz.coverage import Coverage
from shardcts_fuzz.sequence import Programs


def choose(programs, count):
    coverage, chosen, rest = Coverage(), [], list(programs)
    for _ in range(count):
        best = max(rest, key=lambda program: coverage.gain(program) / len(text(program)))
        rest.remove(best)
        coverage.add(best)
        chosen.append(best)
    return chosen, coverage


def main(arguments):
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parse.add_argument("--seed", type=int, required=True)
    parse.add_argument("--of", type=int, required=True, metavar="N", help="how many programs to choose from")
    parse.add_argument("--choose", type=int, required=True, metavar="N")
    parse.add_argument("--out", required=True, metavar="DIR")
    options = parse.parse_args(arguments)
    made = Programs(options.seed, [1, 2, 3, 4])
    chosen, coverage = choose([made.make(number) for number in range(options.of)], options.choose)
    os.makedirs(options.out, exist_ok=True)
    for program in chosen:
        with open(os.path.join(options.out, f"seed-{program.seed}-program-{program.number}.json"), "w", encoding="utf-8") as file:
            file.write(text(program))
    print(f"{len(chosen)} programs with {len(coverage.pairs)} pairs")


if __name__ == "__main__":
    main(sys.argv[1:])
