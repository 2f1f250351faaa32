"""Two runs compared: what counts as worse."""
import json

import pytest

import example_run
from command_test import assert_one_line_error, run_module
from shardcts_reports.diff import compare, render_markdown
from shardcts_reports.model import read_report


def run_of(folder, verdicts, label="reference", **changes):
    """A run with these verdicts by mlp_dim."""
    document = example_run.finish([example_run.make_test(label, verdict, mlp_dim=dim) for dim, verdict in verdicts.items()])
    document["run"]["environment"] |= changes.get("environment", {})
    document["implementations"][0] |= changes.get("implementation", {})
    document |= {key: value for key, value in changes.items() if key not in ("environment", "implementation")}
    return example_run.write_run(folder, document)


@pytest.fixture
def against(tmp_path):
    """against(before, after, **changes of after) -> Comparison."""

    def call(before, after, **changes):
        return compare(read_report(run_of(tmp_path / "a", before)), read_report(run_of(tmp_path / "b", after, **changes)))

    return call


def test_a_run_with_itself_is_no_regression(against):
    comparison = against({2: "pass", 3: "fail"}, {2: "pass", 3: "fail"})
    assert not comparison.is_regression
    assert "✓ **nothing got worse**" in render_markdown(comparison)


@pytest.mark.parametrize("before, after, kind, worse", [
    ("pass", "fail", "newly_failing", True), ("pass", "crash", "newly_failing", True), ("waived", "fail", "newly_failing", True),
    ("not_supported", "hang", "newly_failing", True), ("advice", "diverged", "newly_failing", True),
    ("pass", "not_run", "newly_failing", True), ("pass", "not_supported", "lost", True), ("pass", "advice", "lost", True),
    ("fail", "pass", "newly_passing", False), ("hang", "waived", "newly_passing", False), ("fail", "crash", "other", False),
    ("not_supported", "pass", "other", False), ("pass", "waived", "other", False), ("waived", "pass", "other", False)])
def test_each_change_has_one_kind(against, before, after, kind, worse):
    comparison = against({2: "pass", 3: before}, {2: "pass", 3: after})
    made = comparison.differences[0]
    found = {name for name in ("newly_failing", "lost", "newly_passing", "other") if getattr(made, name)}
    assert (found, comparison.is_regression) == ({kind}, worse)
    assert f"{before} → {after}" in render_markdown(comparison)


def test_a_test_that_passed_and_is_gone_is_worse_than_one_that_failed(against):
    gone = against({2: "pass", 3: "pass"}, {2: "pass"})
    assert gone.is_regression and [change.after for change in gone.differences[0].lost] == ["absent"]
    removed = against({2: "pass", 3: "fail"}, {2: "pass"})
    assert not removed.is_regression and len(removed.differences[0].removed) == 1


def test_a_new_test_that_fails_is_worse(against):
    assert against({2: "pass"}, {2: "pass", 3: "fail"}).is_regression
    assert not against({2: "pass"}, {2: "pass", 3: "pass"}).is_regression


def test_waivers_capabilities_patches_and_versions(against):
    has = example_run.finish([example_run.make_test("reference", "pass")])["implementations"][0]["capabilities"]
    comparison = against({2: "pass"}, {2: "waived"}, environment={"torch": "2.14.0"},
                         implementation={"capabilities": [*has[1:], "new_one"], "patches": [{"target": "a.b", "reason": "c"}]})
    made = comparison.differences[0]
    assert (made.capabilities_lost, made.capabilities_gained) == ([has[0]], ["new_one"])
    assert len(made.new_waivers) == 1 and "+ a.b" in made.patches
    assert comparison.is_regression
    assert "torch: 2.13.0+cpu -> 2.14.0" in comparison.facts


def test_a_run_that_was_cut_short_is_worse(against):
    assert against({2: "pass"}, {2: "pass"}, complete=False).is_regression


def test_one_implementation_each_is_paired_whatever_its_label(tmp_path):
    run_of(tmp_path / "a", {2: "pass"})
    run_of(tmp_path / "b", {2: "fail"}, label="reference+mutant=x")
    comparison = compare(*(read_report(tmp_path / name) for name in "ab"))
    assert comparison.is_regression and comparison.differences[0].after == "reference+mutant=x"


def test_command(tmp_path):
    good, bad = run_of(tmp_path / "a", {2: "pass"}), run_of(tmp_path / "b", {2: "fail"})
    result = run_module("shardcts_reports.diff", good, bad, "--format", "json")
    assert result.returncode == 1
    said = json.loads(result.stdout)
    assert said["regression"] is True and said["differences"][0]["newly_failing"][0]["before"] == "pass"
    assert run_module("shardcts_reports.diff", good, good).returncode == 0
    assert_one_line_error(run_module("shardcts_reports.diff", good, tmp_path / "none"), "none/results.json")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_text_that_the_terminal_cannot_show_is_no_fault(tmp_path, monkeypatch, encoding):
    before = run_of(tmp_path / "a", {2: "pass"})
    after = run_of(tmp_path / "b", {2: "fail"})
    document = json.loads((after / "results.json").read_text())
    document["tests"][0]["reason"] = "half a character \ud800, and \u00e4"
    (after / "results.json").write_text(json.dumps(document))
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    result = run_module("shardcts_reports.diff", before, after)
    assert (result.returncode, result.stderr) == (1, "")
    assert "half a character ?" in result.stdout
