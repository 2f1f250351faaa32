"""Shards that become one run."""
import example_run
from command_test import assert_one_line_error, run_module
from shardcts_reports.model import read_report


def run_of(folder, verdicts, **changes):
    document = example_run.finish([example_run.make_test("torch", verdict, mlp_dim=dim) for dim, verdict in verdicts.items()])
    document["run"] |= changes
    (folder / "runs").mkdir(parents=True)
    return example_run.write_run(folder, document)


def test_parts_become_one_run(tmp_path):
    parts = [run_of(tmp_path / "a", {2: "pass", 3: "fail"}), run_of(tmp_path / "b", {3: "fail", 4: "pass"})]
    result = run_module("shardcts_reports.merge", *parts, "--out", tmp_path / "all")
    assert result.returncode == 0, result
    merged = read_report(tmp_path / "all")
    assert [test["params"]["mlp_dim"] for test in merged.tests] == [2, 3, 4]
    assert merged.document["summary"]["torch"]["pass"] == 2 and merged.complete
    assert merged.tests[2]["log"].startswith("parts/1/runs/") and merged.tests[2]["trace"] is None


def test_what_overlaps_must_agree(tmp_path):
    parts = [run_of(tmp_path / "a", {2: "pass"}), run_of(tmp_path / "b", {2: "fail"})]
    assert_one_line_error(run_module("shardcts_reports.merge", *parts, "--out", tmp_path / "all"), "pass in", "fail in")


def test_runs_of_another_seed_or_commit_are_no_parts(tmp_path):
    parts = [run_of(tmp_path / "a", {2: "pass"}), run_of(tmp_path / "b", {3: "pass"}, seed=7)]
    assert_one_line_error(run_module("shardcts_reports.merge", *parts, "--out", tmp_path / "all"), "run.seed is 7")


def test_one_part_that_was_cut_short_makes_the_whole_incomplete(tmp_path):
    parts = [run_of(tmp_path / "a", {2: "pass"}), run_of(tmp_path / "b", {3: "not_run"})]
    document = read_report(parts[1]).document | {"complete": False}
    example_run.write_run(parts[1], document)
    assert run_module("shardcts_reports.merge", *parts, "--out", tmp_path / "all").returncode == 0
    assert not read_report(tmp_path / "all").complete


def test_shards_that_are_missing_make_the_whole_incomplete(tmp_path):
    parts = [run_of(tmp_path / name, {dim: "pass"}, command=f"shardcts run --shard {shard}")
             for name, dim, shard in (("a", 2, "1/3"), ("b", 3, "2/3"), ("c", 4, "3/3"))]
    for number, complete in ((2, False), (3, True)):
        out = tmp_path / f"of{number}"
        done = run_module("shardcts_reports.merge", *parts[:number], "--out", out)
        assert done.returncode == 0, done
        assert read_report(out).complete == complete
        assert ("shard 3/3 is missing" in done.stdout + done.stderr) != complete
