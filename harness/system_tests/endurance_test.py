"""1,000 empty tests on one pool: what they cost, and that memory and open files of the ranks stay flat."""

import json
import statistics
import time
from pathlib import Path

import pytest

from conftest import SYNTHETIC, end_of, results, start_shardcts

PAGE_KIB = 4
SETTLED = 100  # tests after which caches are full
TESTS = 1000
MOST_GROWTH_KIB = 1024  # of a rank over 900 tests


def events_of(folder: Path, rank: int) -> list[dict]:
    (file,) = folder.glob(f"runs/*/*/pool-0/rank-{rank}.events.jsonl")
    lines = file.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def resources(pid: int) -> tuple[int, int]:
    """Resident memory in KiB, number of open files."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * PAGE_KIB, len(list(Path(f"/proc/{pid}/fd").iterdir()))


def progress(folder: Path, rank: int) -> tuple[int, int]:
    """A rank's process, and how many tests it has begun."""
    (file,) = folder.glob(f"runs/*/*/pool-0/rank-{rank}.events.jsonl")
    with file.open("rb") as stream:
        pid = json.loads(stream.readline())["pid"]
        stream.seek(max(0, file.stat().st_size - 4096))
        last = [line for line in stream.read().split(b"\n")[1:-1] if b'"test_started"' in line][-1]
    return pid, json.loads(last)["index"] + 1


def sample(folder: Path, world_size: int) -> dict[int, tuple[int, list[tuple[int, int]]]] | None:
    """By rank: how many tests it has begun, and its resources; None when there is nothing to see."""
    try:
        found = {}
        for rank in range(world_size):
            pid, begun = progress(folder, rank)
            found[rank] = (begun, resources(pid))
        return found
    except (OSError, ValueError, IndexError):
        return None  # not started yet, or over


def watch(process, folder: Path, world_size: int) -> tuple[dict, dict]:
    """The first sample after SETTLED tests and the last one before the last test: a rank that ends loads code for it."""
    first = last = None
    while process.poll() is None:
        now = sample(folder, world_size)
        if now and all(SETTLED <= begun < TESTS for begun, _ in now.values()):
            first, last = first or now, now
        time.sleep(0.02)
    assert first and last, "the run was over before it was seen"
    return first, last


@pytest.mark.parametrize("implementation, world_size", [("reference", 2), ("reference", 4), ("torch", 2)])
def test_a_thousand_empty_tests_leave_memory_and_open_files_flat(tmp_path, implementation, world_size):
    process = start_shardcts("run", "--impl", implementation, "--world", world_size, "--filter", "test_empty", "--jobs", 1,
                             "--out", "out", cwd=tmp_path, program=SYNTHETIC)
    try:
        first, last = watch(process, tmp_path / "out", world_size)
    finally:
        ended = end_of(process, 120)
    run = results(tmp_path / "out")
    assert run.verdicts == ["pass"] * TESTS, ended
    assert run.starts() == 1
    for rank in range(world_size):
        (begun, (memory, files)), (begun_last, (memory_last, files_last)) = first[rank], last[rank]
        print(f"{implementation}, {world_size} ranks, rank {rank}: {memory} KiB and {files} files after {begun} tests, "
              f"{memory_last} KiB and {files_last} files after {begun_last}")
        assert begun_last - begun >= TESTS / 2
        assert memory_last - memory <= MOST_GROWTH_KIB
        assert files_last <= files + 2, "the trace of the running test comes and goes"
    begins = [event["time"] for event in events_of(tmp_path / "out", 0) if event["event"] == "test_started"]
    median = statistics.median(later - earlier for earlier, later in zip(begins, begins[1:]))
    print(f"{implementation}, {world_size} ranks: {1000 * median:.2f} ms a test")
