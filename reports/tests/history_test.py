"""Runs in the course of time, and the file that keeps them."""
import json

import example_run
from command_test import assert_one_line_error, run_module


def run_of(folder, day, verdicts):
    document = example_run.finish([example_run.make_test("torch", verdict, mlp_dim=dim) for dim, verdict in verdicts.items()])
    document["run"]["started"] = f"2026-01-{day:02}T12:00:00Z"
    return example_run.write_run(folder / str(day), document)


def test_store_grows_and_has_each_run_once(tmp_path):
    store = tmp_path / "history.jsonl"
    second = run_of(tmp_path, 2, {2: "pass", 3: "fail"})
    first = run_of(tmp_path, 1, {2: "pass", 3: "pass"})
    for folders in ([second], [first], [second]):
        result = run_module("shardcts_reports.history", *folders, "--store", store)
        assert result.returncode == 0, result
    lines = [json.loads(line) for line in store.read_text().splitlines()]
    assert [(entry["started"][:10], entry["verdicts"]) for entry in lines] == [
        ("2026-01-01", {"pass": 2}), ("2026-01-02", {"pass": 1, "fail": 1})]
    assert "2026-01-02T12:00:00Z: 1 red, as `fully_shard_state_dict/" in result.stdout
    alone = run_module("shardcts_reports.history", "--store", store)
    assert alone.stdout == result.stdout


def test_wrong_input(tmp_path):
    assert_one_line_error(run_module("shardcts_reports.history"), "nothing to show")
    (tmp_path / "h").write_text("{}\n")
    assert_one_line_error(run_module("shardcts_reports.history", "--store", tmp_path / "h"), "h:1: is no entry of a history")
