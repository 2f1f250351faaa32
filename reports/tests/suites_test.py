"""The table of the suites: sizes are the inventory's, everything else is counted from the results."""
import example_run
from mutants_test import make_mutants
from shardcts_reports.html import render_html
from shardcts_reports.markdown import render_markdown
from shardcts_reports.model import read_report


def report_of(tmp_path, document, mutants=None):
    report = read_report(example_run.write_run(tmp_path, document))
    report.mutants = mutants
    return report


def test_a_suite_is_counted_from_its_results(tmp_path):
    (suite,) = report_of(tmp_path, example_run.make_run()).suites
    assert (suite.name, suite.ported, suite.ids, suite.mutants) == (example_run.SUITE, 2, 13, None)
    assert suite.size_texts == ["7", "2", "13 of 85", "59 (5 unreached)"]
    reference, torch = suite.implementations
    assert (reference.label, torch.label) == ("reference", "torch")
    assert torch.verdicts == {"pass": 13}
    assert set(reference.verdicts.values()) == {1} and len(reference.verdicts) == 13
    assert torch.evaluated == 8, "four checks of each of the two functions"
    assert torch.device_limited == 2, "C10 of each"
    assert reference.parity_text.startswith("against torch: ") and torch.parity_text == ""


def test_a_check_counts_once_for_its_function(tmp_path):
    tests = [example_run.make_test("reference", "pass", mlp_dim=dim) for dim in (2, 3)]
    (suite,) = report_of(tmp_path, example_run.finish(tests)).suites
    assert (suite.ids, suite.implementations[0].evaluated) == (2, 4)


def test_results_without_sizes_say_that_they_are_unknown(tmp_path):
    document = example_run.make_green_run()
    del document["suites"]
    (suite,) = report_of(tmp_path, document).suites
    assert suite.size_texts == ["unknown", "1", "2", "unknown"]


def test_a_suite_of_which_nothing_ran_is_there(tmp_path):
    document = example_run.make_green_run()
    document["suites"].append(document["suites"][0] | {"name": "another"})
    _, other = report_of(tmp_path, document).suites
    assert (other.size_texts[1], other.implementations[0].evaluated) == ("0", 0)


def test_mutants_belong_to_the_suite_whose_checks_they_are_to_fail(tmp_path):
    mutants = make_mutants()
    for mutant in mutants["mutants"]:
        mutant["expected_checks"] = ["test_dp_state_dict_save_load C9"]
    mutants["mutants"][1]["expected_checks"] = ["test_of_another_suite C1"]
    report = report_of(tmp_path, example_run.make_green_run(), mutants)
    assert report.suites[0].mutants == (1, 3)
    for text in (render_html(report), render_markdown(report)):
        assert "1 of 3" in text
        assert "not known to be this one" in text


def test_a_kill_table_of_the_same_commit_says_so(tmp_path):
    document = example_run.make_green_run()
    mutants = make_mutants() | {"suite_commit": document["run"]["suite_commit"], "started": "2026-01-31T12:00:00Z"}
    assert "at the same commit" in render_html(report_of(tmp_path, document, mutants))


def test_parity_of_a_waived_test_counts_apart(tmp_path):
    document = example_run.make_green_run()
    document["tests"][0]["parity"] |= {"waived": True, "structural": 4}
    (suite,) = report_of(tmp_path, document).suites
    sums = suite.implementations[0].parity["torch"]
    assert (sums["tests"], sums["waived"], sums["identical"], sums["structural"]) == (2, 1, 56, 0)
    assert "0 structural; waived tests apart: 1" in suite.implementations[0].parity_text
