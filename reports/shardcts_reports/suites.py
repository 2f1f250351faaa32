"""The suites of a run side by side: what upstream has, what was ported, what was evaluated, and the results."""
from dataclasses import dataclass

from .verdicts import VERDICTS

PARITY_FIELDS = ("operations", "tensors", "identical", "close", "different", "structural")


COLUMNS = ("suite", "upstream instances", "ported", "ids", "checks", "implementation", "checks evaluated", "verdicts", "parity",
           "mutants killed")


@dataclass
class SuiteOnImplementation:
    label: str
    evaluated: int       # checks of the inventory that at least one result evaluated
    device_limited: int  # checks that need a device that this run does not have
    verdicts: dict[str, int]
    parity: dict[str, dict[str, int]]  # by the label it was compared with
    seconds: float

    @property
    def evaluated_text(self) -> str:
        return f"{self.evaluated} (+ {self.device_limited} device-limited)" if self.device_limited else str(self.evaluated)

    @property
    def verdicts_text(self) -> str:
        return ", ".join(f"{VERDICTS[name].symbol} {count} {VERDICTS[name].label}" for name, count in self.verdicts.items())

    @property
    def parity_text(self) -> str:
        return "; ".join(_parity_text(label, sums) for label, sums in self.parity.items())


@dataclass
class Suite:
    """One suite; the sizes are the inventory's (None: the results do not contain them)."""
    name: str
    size: dict | None
    ported: int  # upstream instances that have a result in this run
    ids: int     # test ids in this run
    implementations: list[SuiteOnImplementation]
    mutants: tuple[int, int] | None = None  # killed, and all that this suite must kill

    @property
    def size_texts(self) -> list[str]:
        """Upstream instances, ported, ids, checks."""
        if self.size is None:
            return ["unknown", str(self.ported), str(self.ids), "unknown"]
        unreached = f" ({self.size['unreached']} unreached)" if self.size["unreached"] else ""
        return [str(self.size["instances"]), str(self.ported), _of(self.ids, self.size["ids"]), f"{self.size['checks']}{unreached}"]

    @property
    def mutants_text(self) -> str:
        return "" if self.mutants is None else "{} of {}".format(*self.mutants)


def suites_of(document: dict, mutants: dict | None) -> list[Suite]:
    """In the order of the inventory; `mutants` is a kill table (mutants.json)."""
    sizes = {size["name"]: size for size in document.get("suites", [])}
    names = list(dict.fromkeys([*sizes, *(test["suite"] for test in document["tests"])]))
    return [_suite(name, sizes.get(name), document, mutants) for name in names]


def parity_of(tests: list[dict]) -> dict[str, dict[str, int]]:
    """Sums over these results, by the label they were compared with; `waived` tests are only counted as such."""
    sums: dict[str, dict[str, int]] = {}
    for test in tests:
        if test["parity"]:
            total = sums.setdefault(test["parity"]["against"], dict.fromkeys(("tests", "waived", *PARITY_FIELDS), 0))
            total["tests"] += 1
            if test["parity"].get("waived"):
                total["waived"] += 1
                continue
            for name in PARITY_FIELDS:
                total[name] += test["parity"][name]
    return sums


def kill_table_text(document: dict, mutants: dict) -> str:
    """The source of the last column, and whether it covers the same suites."""
    commit = mutants.get("suite_commit") or "unknown"
    same = commit == document["run"]["suite_commit"] and commit != "unknown"
    return (f"Mutants of {mutants['implementation']}, run {mutants.get('started', 'at an unknown time')} at "
            f"{'the same commit' if same else f'commit {commit}, not known to be this one'}.")


def _parity_text(against: str, sums: dict[str, int]) -> str:
    apart = f"; waived tests apart: {sums['waived']}" if sums["waived"] else ""
    return (f"against {against}: {sums['identical']} identical, {sums['close']} close, {sums['different']} different, "
            f"{sums['structural']} structural{apart}")


def _of(part: int, whole: int) -> str:
    return str(whole) if part == whole else f"{part} of {whole}"


def _suite(name: str, size: dict | None, document: dict, mutants: dict | None) -> Suite:
    tests = [test for test in document["tests"] if test["suite"] == name]
    labels = [record["label"] for record in document["implementations"] if not record.get("loads_only")]
    return Suite(name, size, len({test["upstream_id"] for test in tests}), len({test["id"] for test in tests}),
                 [_on_implementation(label, [test for test in tests if test["implementation"] == label])
                  for label in labels],
                 _mutants_of({test["upstream_function"] for test in tests}, mutants))


def _on_implementation(label: str, tests: list[dict]) -> SuiteOnImplementation:
    evaluated = {(test["upstream_function"], check) for test in tests for check in test["checks"]["evaluated"]}
    limited = {(test["upstream_function"], check) for test in tests for check in test["checks"]["device_limited"]}
    verdicts = [test["verdict"] for test in tests]
    return SuiteOnImplementation(label, len(evaluated), len(limited - evaluated),
                                 {name: verdicts.count(name) for name in VERDICTS if name in verdicts},
                                 parity_of(tests), sum(test["seconds"] for test in tests))


def _mutants_of(functions: set[str], mutants: dict | None) -> tuple[int, int] | None:
    """Killed mutants, and all mutants that a check of these functions is expected to detect."""
    if mutants is None:
        return None
    concerned = [mutant for mutant in mutants["mutants"]
                 if any(check.split(" ")[0] in functions for check in mutant["expected_checks"])]
    return sum(mutant["verdict"] == "killed" for mutant in concerned), len(concerned)
