"""The cost of the harness per test: empty tests on a running rank pool.

    .venv/bin/python bench/harness_cost.py [--build DIR] [--impl NAME] [--tests N] [--world N] [--most WORLD=MS]

Prints for each world size the time from one test's begin to the next one's on rank 0 (median and 95 %), and the time of
the whole run per test without its start, which includes the controller. Exit code 1 when a median is above --most.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
TESTS_OF_A_HUNDRED = 100


def events(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def run_empty_tests(program: Path, implementation: str, world_size: int, tests: int, folder: Path) -> list[dict]:
    """The events of rank 0."""
    filters = []
    for hundred in range(tests // TESTS_OF_A_HUNDRED):
        filters += ["--filter", f"test_empty/world_size={world_size},hundreds={hundred},"]
    command = [program, "run", "--impl", implementation, *filters, "--out", folder]
    ended = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)
    if ended.returncode != 0:
        raise SystemExit(f"harness_cost: {ended.stdout}{ended.stderr}")
    (file,) = folder.glob("runs/*/*/pool-0/rank-0.events.jsonl")
    return events(file)


def milliseconds_per_test(found: list[dict]) -> list[float]:
    begins = [event["time"] for event in found if event["event"] == "test_started"]
    return [1000 * (later - earlier) for earlier, later in zip(begins, begins[1:])]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=REPOSITORY / "build", help="folder of the programs")
    parser.add_argument("--impl", default="reference", help="implementation (default reference)")
    parser.add_argument("--tests", type=int, default=300, help="how many, in hundreds (default 300)")
    parser.add_argument("--world", type=int, action="append", choices=[1, 2, 4], help="world size (default 2 and 4)")
    parser.add_argument("--most", action="append", default=[], metavar="WORLD=MS", help="largest median allowed")
    arguments = parser.parse_args()
    most = {int(world): float(ms) for world, ms in (text.split("=") for text in arguments.most)}
    too_slow = False
    for world_size in arguments.world or [2, 4]:
        with tempfile.TemporaryDirectory(prefix="shardcts-cost-") as folder:
            out = Path(folder) / "out"
            found = run_empty_tests(arguments.build / "synthetic/shardcts", arguments.impl, world_size,
                                    arguments.tests, out)
            costs = milliseconds_per_test(found)
            seconds = json.loads((out / "results.json").read_text())["run"]["seconds"]
        begin = next(event["time"] for event in found if event["event"] == "rank_started")
        ready = next(event["time"] for event in found if event["event"] == "pool_ready")
        median = statistics.median(costs)
        print(f"{arguments.impl}, {world_size} ranks, {len(costs) + 1} empty tests: median {median:.2f} ms, 95 % below "
              f"{statistics.quantiles(costs, n=20)[-1]:.2f} ms; whole run "
              f"{1000 * (seconds - ready + begin) / (len(costs) + 1):.2f} ms a test")
        too_slow = too_slow or median > most.get(world_size, float("inf"))
    return int(too_slow)


if __name__ == "__main__":
    sys.exit(main())
