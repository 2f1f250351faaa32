"""One of the runs in a bundle: `run`, `canaries` or `oracle`. Reads its pools and what their ranks have written."""
import re
from dataclasses import dataclass, field

from .archive import Archive, InMemory
from .events import Pool, Report, read_events, read_plan
from .findings import Finding, Findings, reject
from .manifest import POOL

_RANK = re.compile(r"rank-([0-9]+)\.events\.jsonl")
_NO_REPORT = Report("aborted", "did not finish", 0, {}, frozenset(), {}, ())


@dataclass
class Part:
    name: str
    pools: list[Pool] = field(default_factory=list)
    unfinished: list[Finding] = field(default_factory=list)  # of pools, where no failed test explains it
    problems: list[Finding] = field(default_factory=list)    # clocks and worlds


def read_part(archive: Archive | InMemory, name: str) -> Part:
    """Raises Rejected for a file that is not of its format."""
    part = Part(name)
    folders: dict[str, list[str]] = {}
    for member in archive.names:
        place = POOL.match(member)
        if place and place[1] == name:
            folders.setdefault(place[0], []).append(member[len(place[0]) + 1:])
    for folder, files in folders.items():
        if "plan.json" not in files:
            reject("member.missing", f"{folder}/plan.json", "a pool has no plan")
        pool = read_plan(archive.read(f"{folder}/plan.json"), folder)
        _read_pool(archive, pool, files, part)
        part.pools.append(pool)
    if not part.pools:
        reject("member.missing", f"{name}/runs", "has no pool")
    return part


def reports_of(pool: Pool, index: int) -> list[Report]:
    """Of all ranks; those that did not finish have stopped because a peer had failed."""
    there = pool.reports.get(index, {})
    return [there.get(rank, _NO_REPORT) for rank in range(pool.world)]


def _read_pool(archive: Archive | InMemory, pool: Pool, files: list[str], part: Part) -> None:
    ranks = {int(match[1]): file for file in files if (match := _RANK.fullmatch(file))}
    if set(ranks) != set(range(pool.world)):
        absent = sorted(set(range(pool.world)) - set(ranks))
        surplus = sorted(set(ranks) - set(range(pool.world)))
        part.problems.append(Finding("world.differs", pool.place, f"world size {pool.world}: no events of ranks {absent}"
                                     if absent else f"world size {pool.world}: events of ranks {surplus}"))
        return
    findings = Findings()
    for rank, file in sorted(ranks.items()):
        read_events(archive.read(f"{pool.place}/{file}"), f"{pool.place}/{file}", rank, pool, findings)
    unfinished = [finding for finding in findings.all if finding.name == "events.unfinished"]
    part.problems += [finding for finding in findings.all if finding.name != "events.unfinished"]
    # A failed test may end its pool, where ranks wait for the one that failed and never end it.
    last = pool.reports.get(max(pool.started, default=-1), {})
    failed = len(last) < pool.world and any(report.effective == "fail" for report in last.values())
    part.unfinished += [] if failed else unfinished
    for index, started in sorted(pool.started.items()):
        there = pool.reports.get(index, {})
        if len(there) < pool.world and not any(report.effective == "fail" for report in there.values()):
            waited = sorted(set(range(pool.world)) - set(there))
            part.unfinished.append(Finding("events.unfinished", f"{pool.place}: {pool.planned[index].test}",
                                           f"ranks {waited} have not ended the test"))
