"""Runs in the course of time, and the file that keeps them."""
import json
import os

import pytest

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


@pytest.mark.parametrize("key, value", [
    ("started", 5), ("commit", None), ("implementation", []), ("complete", "no"), ("seconds", "x"), ("seconds", None),
    ("verdicts", None), ("verdicts", {"pass": "1"}), ("parity", None), ("parity", {"torch": {}}), ("red", 5),
    ("red", [None])])
def test_an_entry_of_a_wrong_type_is_wrong_input(tmp_path, key, value):
    store = tmp_path / "h"
    assert run_module("shardcts_reports.history", run_of(tmp_path, 1, {2: "pass"}), "--store", store).returncode == 0
    store.write_text(json.dumps(json.loads(store.read_text()) | {key: value}) + "\n")
    assert_one_line_error(run_module("shardcts_reports.history", "--store", store), f"h:1: at {key}")


def test_a_store_that_cannot_be_read_is_wrong_input(tmp_path):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe{}\n")
    said = run_module("shardcts_reports.history", "--store", tmp_path / "bytes")
    assert_one_line_error(said, "bytes: byte 0: not UTF-8")
    os.mkfifo(tmp_path / "pipe")
    assert_one_line_error(run_module("shardcts_reports.history", "--store", tmp_path / "pipe"), "pipe: empty file")


def test_any_text_can_be_stored_and_read_again(tmp_path):
    document = example_run.finish([example_run.make_test("torch", "fail", mlp_dim=2)])
    document["implementations"][0]["version"] = "1\u2028\ud800"
    folder = example_run.write_run(tmp_path / "run", document)
    for _ in range(2):
        result = run_module("shardcts_reports.history", folder, "--store", tmp_path / "h")
        assert (result.returncode, result.stderr) == (0, "")
