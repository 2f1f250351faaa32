"""Runs of several versions of PyTorch beside each other."""
import pytest

import example_run
from command_test import assert_one_line_error, run_module
from shardcts_reports.versions import Change, changes_between, read_versions, render_markdown

ID = "fully_shard_state_dict/TestFullyShardStateDictMultiProcess.test_dp_state_dict_save_load/world_size=4,mesh=1-D,mlp_dim={}"
FUNCTION = "TestFullyShardStateDictMultiProcess.test_dp_state_dict_save_load"


def run_of(folder, version, verdicts):
    """A run on torch with these verdicts by mlp_dim."""
    document = example_run.finish([example_run.make_test("torch", verdict, mlp_dim=dim) for dim, verdict in verdicts.items()])
    document["run"]["environment"]["torch"] = version
    return example_run.write_run(folder / version, document)


@pytest.fixture
def folders(tmp_path):
    return [run_of(tmp_path, "2.13.0+cpu", {2: "pass", 3: "pass", 5: "waived", 6: "pass"}),
            run_of(tmp_path, "2.14.1+cu130", {2: "pass", 3: "fail", 5: "pass", 6: "fail", 7: "pass"}),
            run_of(tmp_path, "2.15.0+cu132", {2: "pass", 3: "fail", 5: "pass", 6: "fail", 7: "pass"})]


def test_tests_of_one_function_that_change_alike_are_one_line(folders):
    before, after, _ = read_versions(folders)
    assert changes_between(before, after) == [
        Change("torch", FUNCTION, "pass", "fail", (ID.format(3), ID.format(6)), "C9 failed on rank 1"),
        Change("torch", FUNCTION, "waived", "pass", (ID.format(5),), changes_between(before, after)[1].reason),
        Change("torch", FUNCTION, "absent", "pass", (ID.format(7),), "")]
    assert "exp_avg is overwritten" in changes_between(before, after)[1].reason


def test_page_has_a_column_for_each_version_and_what_changed(folders):
    page = render_markdown(read_versions(folders))
    assert "| implementation | suite | 2.13.0+cpu | 2.14.1+cu130 | 2.15.0+cu132 |" in page
    assert "| 3 pass, 1 waived | 3 pass, 2 fail | 3 pass, 2 fail |" in page
    assert f"* `torch` `{FUNCTION}`, pass → fail in 2 of its tests, as `{ID.format(3)}`: C9 failed on rank 1" in page
    assert page.endswith("## From 2.14.1+cu130 to 2.15.0+cu132\n\nNo verdict differs.\n")


def test_what_one_run_lacks_is_one_line(folders, tmp_path):
    """Not one for each test: a run of one implementation, and one that was stopped, beside a complete one."""
    tests = [example_run.make_test("torch", verdict, mlp_dim=dim) for dim, verdict in {2: "not_run", 3: "not_run", 5: "pass"}.items()]
    tests.append(example_run.make_test("reference", "pass", mlp_dim=2))
    document = example_run.finish(tests)
    document["run"]["environment"]["torch"] = "2.12.0"
    page = render_markdown(read_versions([example_run.write_run(tmp_path / "2.12.0", document), folders[0]]))
    changes = page.partition("## From 2.12.0 to 2.13.0+cpu\n\n")[2].splitlines()
    assert changes[:2] == ["* `torch` on 2.12.0: 2 tests were not run", "* `reference` on 2.13.0+cpu: nothing was run"]
    assert [line.partition(f"`{FUNCTION}`, ")[2].partition(" in ")[0] for line in changes[2:]] == ["pass → waived", "absent → pass"]
    assert "| `reference` | `fully_shard_state_dict` | 1 pass | not run |" in page


def test_writes_where_told(folders, tmp_path):
    result = run_module("shardcts_reports.versions", *folders, "--out", tmp_path / "versions.md")
    assert (result.returncode, result.stdout.strip()) == (0, str(tmp_path / "versions.md"))
    assert (tmp_path / "versions.md").read_text().startswith("# Versions of PyTorch\n")


def test_wrong_input(folders, tmp_path):
    assert_one_line_error(run_module("shardcts_reports.versions", folders[0], folders[0]), "2 of the runs are of 2.13.0+cpu")
    assert_one_line_error(run_module("shardcts_reports.versions", folders[0], tmp_path / "none"), "none/results.json")
