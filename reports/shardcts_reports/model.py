"""The data of all three reports, computed once from a validated results.json."""
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from .causes import Cause, causes_of
from .consistency import check_consistency
from .coverage import Share, coverage
from .load import load_json, validate
from .rules import RuleTable, rule_tables
from .suites import Suite, parity_of, suites_of
from .verdicts import APART, GREEN, PROBLEMS, VERDICTS


@dataclass(frozen=True)
class Device:
    """Where an implementation ran. Only `kind` "gpu" may be called a GPU result."""
    kind: str  # cpu, gpu, emulated, unproven
    text: str


@dataclass
class Implementation:
    record: dict
    device: Device
    counts: dict[str, int]
    parity: dict[str, dict[str, int]]  # by the label it was compared with

    @property
    def label(self) -> str:
        return self.record["label"]

    @property
    def title(self) -> str:
        """What it says that it is: name and version; the label of one that says nothing."""
        return f"{self.record['name']} {self.record['version']}".strip() or self.label

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def problems(self) -> int:
        return sum(self.counts[name] for name in PROBLEMS)


@dataclass
class Row:
    """One test id and its result on each implementation (None: not selected there)."""
    id: str
    variant: str
    world_size: int
    results: list[dict | None]

    @property
    def differs(self) -> bool:
        """The implementations disagree in verdict, in values or in structure; close values do not count."""
        verdicts = {result["verdict"] if result else None for result in self.results}
        parities = [result["parity"] for result in self.results if result and result["parity"]]
        return len(verdicts) > 1 or any(parity["different"] or parity["structural"] for parity in parities)


@dataclass
class Group:
    """The tests of one upstream function."""
    suite: str
    function: str
    rows: list[Row] = field(default_factory=list)


@dataclass
class Report:
    document: dict
    folder: Path
    mutants: dict | None = None  # a kill table (mutants.read_mutants), if one was given

    @property
    def run(self) -> dict:
        return self.document["run"]

    @property
    def tests(self) -> list[dict]:
        return self.document["tests"]

    @property
    def complete(self) -> bool:
        return self.document["complete"]

    @cached_property
    def records(self) -> list[dict]:
        """The implementations under test: without one that only runs phases of their tests."""
        return [record for record in self.document["implementations"] if not record.get("loads_only")]

    @cached_property
    def labels(self) -> list[str]:
        return [record["label"] for record in self.records]

    @cached_property
    def implementations(self) -> list[Implementation]:
        environment = self.run["environment"]
        none = dict.fromkeys(VERDICTS, 0)  # an older file lacks the counts of newer verdicts
        return [Implementation(record, device_of(record, environment), none | self.document["summary"][record["label"]],
                               parity_of([test for test in self.tests if test["implementation"] == record["label"]]))
                for record in self.records]

    @cached_property
    def suites(self) -> list[Suite]:
        return suites_of(self.document, self.mutants)

    @cached_property
    def rule_tables(self) -> list[RuleTable]:
        return rule_tables(self.document, self.labels)

    @cached_property
    def groups(self) -> list[Group]:
        rows: dict[tuple, dict[str, Row]] = {}
        for test in self.tests:
            group = rows.setdefault((test["suite"], function_of(test)), {})
            row = group.get(test["id"])
            if row is None:
                row = group[test["id"]] = Row(test["id"], variant_of(test), test["world_size"],
                                                [None] * len(self.labels))
            row.results[self.labels.index(test["implementation"])] = test
        return [Group(suite, function, list(group.values())) for (suite, function), group in sorted(
            rows.items(), key=lambda item: item[0][0])]

    @cached_property
    def waivers(self) -> list[tuple[dict, list[dict]]]:
        """Every waiver that names a test of the run, with those tests."""
        found: dict[tuple, tuple[dict, list[dict]]] = {}
        for test in self.tests:
            waiver = test["waiver"]
            if waiver:
                key = (waiver["place"], waiver["test"], waiver["implementation"], waiver["device"])
                found.setdefault(key, (waiver, []))[1].append(test)
        return list(found.values())

    @cached_property
    def title(self) -> str:
        """Name and version of what was tested, of at most three of them."""
        titles = list(dict.fromkeys(item.title for item in self.implementations))
        more = [f"{len(titles) - 3} more"] if len(titles) > 3 else []
        return ", ".join(titles[:3] + more)

    @cached_property
    def causes(self) -> list[Cause]:
        return causes_of(self.tests)

    @cached_property
    def coverage(self) -> list[tuple[str, list[Share]]]:
        return coverage(self.tests, self.labels)

    @cached_property
    def flaky(self) -> int:
        return sum(test["flaky"] for test in self.tests)

    @cached_property
    def outcome(self) -> tuple[str, str]:
        """Tone and one sentence: what the exit code of a plain run says."""
        problems = sum(implementation.problems for implementation in self.implementations)
        passed = sum(implementation.counts["pass"] for implementation in self.implementations)
        if problems:
            flaky = f" {self.flaky} are flaky." if self.flaky else ""
            return "bad", f"{problems} of {len(self.tests)} results are problems.{flaky}"
        if not self.complete:
            return "bad", f"No problem among the {len(self.tests)} results that are there, but the run is incomplete."
        if not passed:
            return "bad", "No test passed: nothing was proven."
        apart = {name: sum(implementation.counts[name] for implementation in self.implementations) for name in sorted(APART)}
        rest = "".join(f" {count} {'is' if count == 1 else 'are'} {VERDICTS[name].label} and counted apart."
                       for name, count in apart.items() if count)
        counting = len(self.tests) - sum(apart.values())
        return "good", f"All {counting} results that count are pass, not applicable or waived.{rest}"


def read_report(folder: Path) -> Report:
    """Reads folder/results.json; InputError when it is missing, broken or contradicts itself."""
    path = folder / "results.json"
    document = load_json(path)
    validate(document, "results.schema.json", path)
    check_consistency(document, path)
    return Report(document, folder)


def device_of(record: dict, environment: dict) -> Device:
    """A GPU result needs a device type that is not the CPU, a GPU in the environment and a real NCCL."""
    device, gpu = record["device"], environment["gpu"]
    if device.split(":")[0] in ("cpu", "meta"):
        return Device("cpu", "CPU result")
    if "emulat" in " ".join(map(str, [environment["nccl"], gpu, *record["options"].values()])).lower():
        return Device("emulated", f"{device} over an emulator: not a GPU result")
    if not gpu or str(gpu).lower() in ("none", "no", "0"):
        return Device("unproven", f"{device} named, but the run saw no GPU: not a GPU result")
    return Device("gpu", f"GPU result: {device} on {gpu}")


def function_of(test: dict) -> str:
    """The upstream function with its class: the part of the id that its instances share."""
    owner, dot, _ = test["upstream_id"].partition(".")
    return f"{owner}.{test['upstream_function']}" if dot else test["upstream_function"]


def variant_of(test: dict) -> str:
    """What distinguishes the test inside its function."""
    head = f"{test['suite']}/"
    text = test["id"].removeprefix(head).removeprefix(function_of(test)).strip("/_")
    return text or test["id"]


def first_reason(test: dict) -> str:
    """One line that says why, from the reason or the first failure."""
    if test["reason"]:
        return test["reason"]
    for failure in test["failures"]:
        check = f"{failure['check']}: " if failure["check"] else ""
        return check + failure["message"]
    if test["checks"]["missing"]:
        return "not evaluated: " + " ".join(test["checks"]["missing"])
    return "" if test["verdict"] in GREEN else VERDICTS[test["verdict"]].meaning


def until(waiver: dict) -> str:
    """How long a waiver holds."""
    version = f"before version {waiver['review_version']}" if waiver["review_version"] else ""
    versions = f"for {waiver['versions']}" if waiver.get("versions") else ""
    return ", ".join(filter(None, (waiver["expires"], version, versions)))


def tally(tests: list[dict]) -> str:
    """"2 waived, 1 fail": the verdicts of these results, in the order of the legend."""
    verdicts = [test["verdict"] for test in tests]
    return ", ".join(f"{verdicts.count(name)} {VERDICTS[name].label}" for name in VERDICTS if name in verdicts)
