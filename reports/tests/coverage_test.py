"""The share of a capability's tests that passed."""
import example_run
from shardcts_reports.coverage import Share, coverage
from shardcts_reports.html import render_html
from shardcts_reports.markdown import render_markdown
from shardcts_reports.model import read_report


def result(verdict, capabilities, implementation="a"):
    return {"verdict": verdict, "capabilities": capabilities, "implementation": implementation}


def test_tests_count_for_each_capability_that_they_need():
    tests = [result("pass", ["dsd", "tp"]), result("fail", ["dsd"]), result("not_supported", ["tp"]),
             result("not_applicable", ["dsd"]), result("waived", ["tp"]), result("advice", ["tp"]),
             result("pass", ["tp"], "b")]
    assert coverage(tests, ["a", "b"]) == [("dsd", [Share(2, 1, 1), Share()]), ("tp", [Share(4, 2, 0), Share(1, 1, 0)])]


def test_what_lacks_is_seen_before_the_colour():
    assert [(share.text, share.tone) for share in (Share(497, 8), Share(3, 3), Share(3, 0), Share(3, 2, 1), Share(3, 0, 2))] == [
        ("8 of 497 pass", "warn"), ("3 of 3 pass", "good"), ("0 of 3 pass", "neutral"), ("2 of 3 pass, 1 problem", "bad"),
        ("0 of 3 pass, 2 problems", "bad")]


def test_results_without_capabilities_have_no_table(tmp_path):
    document = example_run.make_green_run()
    assert "## Capabilities" in render_markdown(read_report(example_run.write_run(tmp_path, document)))
    for test in document["tests"]:
        del test["capabilities"]
    report = read_report(example_run.write_run(tmp_path, document))
    assert 'id="capabilities"' not in render_html(report) and "## Capabilities" not in render_markdown(report)
