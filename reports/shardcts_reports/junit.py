"""junit.xml: one test suite per implementation and suite, for CI systems."""
import re

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from .model import Report, first_reason, function_of
from .verdicts import VERDICTS

SKIPPED = frozenset({"advice", "not_supported", "not_applicable", "waived"})
FAILURE = frozenset({"fail", "incomplete", "unexpected_pass"})
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_junit(report: Report) -> bytes:
    xml = JUnitXml("ShardCTS")
    for item in report.implementations:
        for suite in dict.fromkeys(test["suite"] for test in report.tests if test["implementation"] == item.label):
            tests = [test for test in report.tests if (test["implementation"], test["suite"]) == (item.label, suite)]
            xml.add_testsuite(_suite(report, item, suite, tests))
    xml.update_statistics()
    return xml.tostring()


def clean(value) -> str:
    """Without the characters that XML cannot carry."""
    return _NOT_XML.sub("\ufffd", str(value))


def _suite(report: Report, item, suite: str, tests: list[dict]) -> TestSuite:
    made = TestSuite(clean(f"{item.label}.{suite}"))
    made.timestamp = report.run["started"]
    for name, value in (("implementation", item.label), ("version", item.record["version"]),
                        ("device", item.device.text), ("mutant", item.record["mutant"] or ""),
                        ("complete", str(report.complete).lower()), ("seed", report.run["seed"]),
                        ("commit", report.run["suite_commit"]), ("command", report.run["command"])):
        made.add_property(name, clean(value))
    made.add_testcases([_case(item.label, test) for test in tests])
    if not report.complete:
        made.add_testcase(_incomplete_run(item.label, suite))
    return made


def _incomplete_run(label: str, suite: str) -> TestCase:
    """A CI system that only counts must not take an interrupted run for a green one."""
    case = TestCase("the run is complete", clean(f"{label}.{suite}"))
    case.result = [Error("the run is incomplete: results are missing", "incomplete_run")]
    return case


def _case(label: str, test: dict) -> TestCase:
    case = TestCase(clean(test["id"].removeprefix(f"{test['suite']}/")),
                    clean(f"{label}.{test['suite']}.{function_of(test)}"), test["seconds"])
    result = _result(test)
    if result is not None:
        case.result = [result]
    return case


def _result(test: dict):
    verdict = test["verdict"]
    if verdict == "pass":
        return None
    reason = clean(" ".join(first_reason(test).split()))
    if verdict in SKIPPED:
        return Skipped(f"{VERDICTS[verdict].label}: {reason}", verdict)
    if test["flaky"]:
        verdict = f"flaky_{verdict}"
    made = (Failure if test["verdict"] in FAILURE else Error)(reason, verdict)
    places = [_place(failure) for failure in test["failures"]]
    made.text = clean("\n".join(places + [f"reproduce: {test['reproduce']}"]))
    return made


def _place(failure: dict) -> str:
    where = f"{failure['file']}:{failure['line']}: " if failure["file"] else ""
    rank = f"rank {failure['rank']}: " if failure["rank"] is not None else ""
    return f"{where}{rank}{failure['check'] or 'no check'}: {failure['message']}"
