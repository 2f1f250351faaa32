"""How fast the reference saves and loads state dicts, compared with PyTorch and a memcpy of the same bytes.

    .venv/bin/python bench/state_dict_ratios.py [--optimizer | --dsd | --storage] [--build DIR] [--world N] [--sizes MIB,…]
                                                [--rounds N] [--one-unit] [--out DIR]
                                                [--check [--least-torch X] [--least-memcpy X]]

Runs state_dict_bench, with --optimizer optim_state_bench, with --dsd dsd_bench (models and their optimizers), with
--storage storage_bench (checkpoints), at each world size and prints medians over the rounds, in GB/s of the bytes that
the state dict has on one rank, and the reference's ratios to PyTorch, to a memcpy, and to a memcpy into memory that is
new, as that of a state dict is. With --check the exit code is 1 when a case of 16 MiB or more is below a bound: FULL state_dict; with --optimizer any case;
with --dsd any case of FULL and RANK0, where data moves between ranks; with --storage any load.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
CHECKED_FROM_MIB = 16
WHO = ["reference", "torch", "memcpy", "memcpy_new"]

Case = tuple[str, str, int]  # kind, operation, MiB

# What --check looks at, by program.
CHECKED = {
    "state_dict": lambda kind, operation: (kind, operation) == ("FULL", "state_dict"),
    "optim_state": lambda kind, operation: True,
    "storage": lambda kind, operation: operation != "save",
    "dsd": lambda kind, operation: kind in ("FULL", "RANK0"),
}


def run_benchmarks(program: Path, world_size: int, options: list, result: Path) -> None:
    command = [program, "--ranks", world_size, *options,
               f"--benchmark_out={result}", "--benchmark_out_format=json"]
    ended = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=1800)
    if ended.returncode != 0:
        raise SystemExit(f"state_dict_ratios: {program.name} at {world_size} ranks: {ended.stdout}{ended.stderr}")


def median_speeds(result: Path) -> dict[Case, dict[str, float]]:
    """GB/s by case and by who."""
    found: dict[Case, dict[str, list[float]]] = {}
    for run in json.loads(result.read_text())["benchmarks"]:
        kind, operation, size, who = run["name"].split("/")[:4]
        case = (kind, operation, int(size.removesuffix("MiB")))
        found.setdefault(case, {}).setdefault(who, []).append(run["bytes_per_second"] / 1e9)
    return {case: {who: statistics.median(speeds) for who, speeds in by_who.items()} for case, by_who in found.items()}


def print_table(world_size: int, medians: dict[Case, dict[str, float]]) -> None:
    print(f"{world_size} ranks, GB/s on each; ratios of the reference\n")
    print("| state dict | MiB | reference | torch | memcpy | memcpy, new | to torch | to memcpy | to memcpy, new |")
    print("| --- " + "| ---: " * 8 + "|")
    for (kind, operation, mebibytes), speeds in medians.items():
        ratios = [speeds["reference"] / speeds[other] for other in WHO[1:]]
        print(f"| {kind} {operation} | {mebibytes} | " + " | ".join(f"{speeds[who]:.2f}" for who in WHO) + " | "
              + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |")
    print()


def shortfalls(name: str, medians: dict[Case, dict[str, float]], least: dict[str, float]) -> list[str]:
    found = []
    for (kind, operation, mebibytes), speeds in medians.items():
        if mebibytes < CHECKED_FROM_MIB or not CHECKED[name](kind, operation):
            continue
        for other, bound in least.items():
            ratio = speeds["reference"] / speeds[other]
            if ratio < bound:
                found.append(f"{kind} {operation} of {mebibytes} MiB: {ratio:.2f} of {other}, the bound is {bound:g}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--optimizer", action="store_true", help="optimizer state instead of the model's")
    parser.add_argument("--dsd", action="store_true", help="models under fully_shard, distributed state-dict functions")
    parser.add_argument("--storage", action="store_true", help="checkpoints: saves, loads, loads at other placements")
    parser.add_argument("--build", type=Path, default=REPOSITORY / "build", help="folder of the program")
    parser.add_argument("--world", type=int, action="append", help="world size (default 2 and 4)")
    parser.add_argument("--sizes", default="1,16,64,256", help="sizes of the models in MiB (default 1,16,64,256)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each case is measured (default 5)")
    parser.add_argument("--one-unit", action="store_true", help="one unit over all layers instead of one for each")
    parser.add_argument("--out", type=Path, help="folder in which Google Benchmark's results stay")
    parser.add_argument("--check", action="store_true", help="exit code 1 when a bound is not reached")
    parser.add_argument("--least-torch", type=float, default=5, help="bound of the ratio to torch (default 5)")
    parser.add_argument("--least-memcpy", type=float, default=0.5, help="bound of the ratio to memcpy (default 0.5)")
    arguments = parser.parse_args()
    least = {"torch": arguments.least_torch, "memcpy": arguments.least_memcpy} if arguments.check else {}
    options = ["--sizes", arguments.sizes, "--rounds", arguments.rounds, *["--one-unit"] * arguments.one_unit]
    name = next((name for name in ("dsd", "storage") if getattr(arguments, name)), "state_dict")
    name = "optim_state" if arguments.optimizer else name
    found = []
    with tempfile.TemporaryDirectory(prefix="shardcts-bench-") as temporary:
        folder = arguments.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for world_size in arguments.world or [2, 4]:
            result = folder / f"{name.replace('_', '-')}-{world_size}-ranks.json"
            run_benchmarks(arguments.build / f"{name}_bench", world_size, options, result)
            medians = median_speeds(result)
            print_table(world_size, medians)
            found += [f"{world_size} ranks: {text}" for text in shortfalls(name, medians, least)]
    for text in found:
        print(text)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
