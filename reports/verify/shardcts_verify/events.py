"""What the ranks of a pool have written, read line by line: the only source of verdicts."""
import re
from dataclasses import dataclass, field

from .documents import Fields, parse_json
from .findings import Findings, reject

RANK_VERDICTS = ("pass", "fail", "not_supported", "not_applicable", "diverged", "harness_error", "aborted")
MAX_LINE_BYTES = 4 << 20
MAX_RANKS = 4096
_REPETITION = re.compile(r"(.*)\+repetition=([0-9]{1,4})")


@dataclass(frozen=True)
class Report:
    """What one rank says about one test."""
    verdict: str
    reason: str
    operations: int
    evaluated: dict[str, int]
    failed: frozenset[str]      # checks
    limited: dict[str, str]
    failures: tuple[tuple[str, str], ...]  # check, message

    @property
    def effective(self) -> str:
        """A rank that says `pass` and counts a failed check is not believed."""
        return "fail" if self.verdict == "pass" and (self.failed or self.failures) else self.verdict


@dataclass(frozen=True)
class Planned:
    """One entry of a plan."""
    test: str
    repetition: int  # from 1
    phase: int       # from 0
    recording: str   # the name of its trace


@dataclass
class Pool:
    place: str
    label: str
    source: str
    mutant: str | None
    device: str
    options: dict
    world: int
    seed: int
    trace: str
    timeout: float
    planned: list[Planned]
    reports: dict[int, dict[int, Report]] = field(default_factory=dict)  # index, rank
    started: dict[int, set[int]] = field(default_factory=dict)           # index: the ranks that began it
    descriptions: dict[int, dict] = field(default_factory=dict)          # rank: of pool_ready
    finished_ranks: set[int] = field(default_factory=set)
    first: float = 0.0
    last: float = 0.0


def read_plan(data: bytes, place: str) -> Pool:
    plan = Fields(parse_json(data, place), place, "member.form")
    implementation = plan.object("implementation").only("label", "source", "options", "device", "mutant")
    tests, recordings = plan.texts("tests"), plan.texts("recordings")
    phases = plan.take("phases", list) if "phases" in plan else [None] * len(tests)
    if not len(tests) == len(recordings) == len(phases):
        reject("member.form", place, "tests, recordings and phases differ in number")
    world = plan.count("world_size")
    if not 1 <= world <= MAX_RANKS:
        reject("member.form", place, f"world size {world}")
    planned = [_planned(test, recording, phase, place) for test, recording, phase in zip(tests, recordings, phases)]
    return Pool(place, implementation.text("label"), implementation.text("source"),
                implementation.take("mutant", (str, type(None))), implementation.text("device"),
                implementation.take("options", dict), world, plan.count("seed"), plan.text("trace"),
                plan.number("test_timeout_seconds"), planned)


def _planned(test: str, recording: str, phase, place: str) -> Planned:
    index = 0
    if phase is not None:
        index = Fields(phase, f"{place}: phases", "member.form").count("phase") - 1
        if index < 0:
            reject("member.form", place, "phases count from 1")
    repeated = _REPETITION.fullmatch(recording)
    name, repetition = (repeated[1], int(repeated[2])) if repeated else (recording, 1)
    if name != test:
        reject("member.form", place, f"recording {recording!r} is not of {test!r}")
    return Planned(test, repetition, index, recording)


def read_events(data: bytes, place: str, rank: int, pool: Pool, findings: Findings) -> None:
    """Adds the events of one rank to its pool."""
    reader = _RankReader(place, rank, pool, findings)
    for number, line in enumerate(data.split(b"\n"), 1):
        if line:
            if len(line) > MAX_LINE_BYTES:
                reject("events.form", f"{place}:{number}", f"longer than {MAX_LINE_BYTES} bytes")
            where = f"{place}:{number}"
            reader.take(Fields(parse_json(line, where, "events.form"), where, "events.form"))
    if data and not data.endswith(b"\n"):
        reject("events.form", place, "the last line is cut off")
    reader.end()


class _RankReader:
    """Follows one rank: started, ready, then its tests one after another, then finished."""

    def __init__(self, place: str, rank: int, pool: Pool, findings: Findings):
        self._place, self._rank, self._pool, self._findings = place, rank, pool, findings
        self._time = 0.0
        self._state = "new"
        self._running: int | None = None
        self._next = 0

    def take(self, event: Fields) -> None:
        kind = event.text("event")
        time = event.number("time")
        if event.count("rank") != self._rank:
            reject("events.form", event.place, f"is of another rank than {self._rank}")
        if time < self._time:
            self._findings.add("events.clock", event.place, f"{time} after {self._time}")
        self._pool.first = min(self._pool.first or time, time)
        self._pool.last = max(self._pool.last, time)
        self._time = time
        handler = getattr(self, f"_on_{kind}", None) if kind.isidentifier() else None
        if handler is None:
            reject("events.form", event.place, f"unknown event {kind!r}")
        handler(event)

    def end(self) -> None:
        if self._state != "over":
            self._findings.add("events.unfinished", self._place, f"rank {self._rank} has not ended its pool")

    def _require(self, event: Fields, *states: str) -> None:
        if self._state not in states:
            reject("events.order", event.place, f"{event.text('event')} comes when the rank is {self._state}")

    def _on_rank_started(self, event: Fields) -> None:
        self._require(event, "new")
        self._state = "started"
        if event.count("world_size") != self._pool.world:
            self._findings.add("world.differs", event.place,
                               f"world size {event.count('world_size')}, the plan says {self._pool.world}")

    def _on_implementation_started(self, event: Fields) -> None:
        self._require(event, "started")

    def _on_pool_ready(self, event: Fields) -> None:
        self._require(event, "started")
        self._state = "ready"
        self._pool.descriptions[self._rank] = event.take("implementation", dict)

    def _on_test_started(self, event: Fields) -> None:
        self._require(event, "ready")
        index = event.count("index")
        if index != self._next or index >= len(self._pool.planned):
            reject("events.order", event.place, f"index {index}, the next of the plan is {self._next}")
        if event.text("test") != self._pool.planned[index].test:
            reject("events.order", event.place, f"{event.text('test')!r} is not test {index} of the plan")
        self._pool.started.setdefault(index, set()).add(self._rank)
        self._state, self._running, self._next = "running a test", index, index + 1

    def _on_test_finished(self, event: Fields) -> None:
        self._require(event, "running a test")
        index = event.count("index")
        if index != self._running or event.text("test") != self._pool.planned[index].test:
            reject("events.order", event.place, f"ends test {index}, test {self._running} is running")
        self._pool.reports.setdefault(index, {})[self._rank] = _report(event)
        self._state, self._running = "ready", None

    def _on_pool_finished(self, event: Fields) -> None:
        self._require(event, "ready")
        self._state = "over"
        self._pool.finished_ranks.add(self._rank)

    def _on_pool_failed(self, event: Fields) -> None:
        self._findings.add("events.unfinished", event.place, f"the pool did not start: {event.text('message')}")
        self._state = "over"

    def _on_rank_crashed(self, event: Fields) -> None:
        self._findings.add("events.unfinished", event.place, f"the rank died by signal {event.count('signal')}")

    def _on_rank_orphaned(self, event: Fields) -> None:
        self._findings.add("events.unfinished", event.place, "the rank lost its launcher")


def _report(event: Fields) -> Report:
    verdict = event.text("verdict")
    if verdict not in RANK_VERDICTS:
        reject("events.form", event.place, f"unknown verdict {verdict!r}")
    evaluated, failed = {}, set()
    for check in event.object("checks").keys():
        counts = event.object("checks").object(check)
        evaluated[check] = counts.count("evaluated")
        if counts.count("failed") > 0:
            failed.add(check)
        if counts.count("failed") > evaluated[check]:
            reject("events.form", event.place, f"check {check!r} failed more often than it was evaluated")
    limited = event.take("device_limited", dict)
    failures = []
    for entry in event.take("failures", list):
        failure = Fields(entry, f"{event.place}: failures", "events.form")
        failures.append((failure.text("check"), failure.text("message")))
    return Report(verdict, event.text("reason"), event.count("operations"), evaluated, frozenset(failed),
                  {str(key): str(value) for key, value in limited.items()}, tuple(failures))
