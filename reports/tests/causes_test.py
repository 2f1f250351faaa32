"""Problems are grouped by what they have in common, and nothing else."""
import pytest

import example_run
from shardcts_reports.causes import causes_of
from shardcts_reports.html import MAX_LISTED, render_html
from shardcts_reports.markdown import render_markdown
from shardcts_reports.model import read_report


def failed(message, function="test_a", check="C1", verdict="fail", implementation="torch", world=2):
    failures = [{"rank": 0, "check": check, "message": message, "file": "", "line": 0, "operation": ""}] if check else []
    return {"id": f"s/{function}/{message}", "suite": "s", "upstream_function": function, "implementation": implementation,
            "verdict": verdict, "reason": message, "failures": failures, "world_size": world}


ALIKE = [
    ["1.0.in_proj.weight: index (3, 2): expected 0x1.8p+1 (3.0), got 0x1p+1 (2.0)\nrank 1, 2 of 40 elements",
     "net.0.bias: index (7,): expected -0x1p-3 (-0.125), got 0x0p+0 (0)\nrank 0, 1 of 8 elements"],
    ['missing ["a.b", "c"]', "missing ['layers.0.weight', 'x']"],
    ["shape: expected (3, 4), actual (2,)", "shape: expected (1,), actual (8, 8, 8)"],
    ["after 3 steps: 1e-05 apart", "after 12 steps: 0.25 apart"],
    ["expected an error, actual /tmp/run-a/tests/7/one is there", "expected an error, actual /data/b/tests/12 is there"],
]


@pytest.mark.parametrize("messages", ALIKE)
def test_numbers_and_names_do_not_distinguish_causes(messages):
    (cause,) = causes_of([failed(message) for message in messages])
    assert len(cause.tests) == len(messages) and cause.place == "s/test_a C1"


DIFFERENT = [
    [failed("a.b: dtype: expected 1, actual 2"), failed("a.b: shape: expected 1, actual 2")],
    [failed("the same"), failed("the same", check="C2")],
    [failed("the same"), failed("the same", function="test_b")],
    [failed("the same"), failed("the same", verdict="crash")],
    [failed("the same"), failed("the same", implementation="reference")],
    [failed("model.wrap: ValueError: no"), failed("model.load_state_dict: ValueError: no")],
    [failed("model.wrap: ValueError: no"), failed("model.wrap: KeyError: no")],
]


@pytest.mark.parametrize("tests", DIFFERENT)
def test_what_distinguishes_causes(tests):
    assert len(causes_of(tests)) == 2


def test_an_operation_that_fails_is_one_cause_wherever_it_is_called():
    tests = [failed("raised without being expected: model.wrap: ValueError: no 3", function=name, check=check)
             for name, check in [("test_a", "C1"), ("test_b", "C7"), ("test_c", "")]]
    (cause,) = causes_of(tests)
    assert (cause.place, cause.message) == ("model.wrap", "ValueError: no N")


def test_phase_and_folder_do_not_distinguish_causes():
    tests = [failed(f"phase {phase}: rank 1 died by signal 9; its folder: {folder}", check="", verdict="crash")
             for phase, folder in [("1 of 2 (save, 2 ranks)", "/tmp/a/storage/7"), ("2 of 2 (load, 3 ranks)", "out/tests/12")]]
    (cause,) = causes_of(tests)
    assert cause.message == "rank N died by signal N"


def test_the_largest_come_first_and_what_is_green_never():
    tests = [failed("one"), failed("many"), failed("many"), failed("green", verdict="pass"),
             failed("apart", verdict="advice")]
    assert [len(cause.tests) for cause in causes_of(tests)] == [2, 1]


def test_what_was_not_run_is_one_cause():
    tests = [failed("interrupted", function=name, check="", verdict="not_run") for name in ("test_a", "test_b")]
    assert [cause.place for cause in causes_of(tests)] == [""]


def test_the_example_is_in_the_smallest_world():
    small = failed("x: 1", world=1)
    (cause,) = causes_of([failed("x: 4", world=4), small, failed("x: 2", world=2)])
    assert cause.example is small


def test_page_and_summary_list_causes_with_their_tests(tmp_path):
    document = example_run.make_run()
    report = read_report(example_run.write_run(tmp_path, document))
    page, summary = render_html(report), render_markdown(report)
    assert sum(len(cause.tests) for cause in report.causes) == 8
    assert 'id="causes"' in page and "## Problems by cause" in summary
    for cause in report.causes:
        assert cause.example["id"] in summary and f"**{len(cause.tests)} " in summary
    assert page.count('<li><a href="#fully') == 8 <= MAX_LISTED


def test_a_green_page_has_no_causes(tmp_path):
    report = read_report(example_run.write_run(tmp_path, example_run.make_green_run()))
    assert 'id="causes"' not in render_html(report) and "by cause" not in render_markdown(report)
