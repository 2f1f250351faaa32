"""Random programs: none finds anything on the reference, a seeded bug is found and shrunk, bad input is one line."""

import json
import time

import pytest

from conftest import end_of, processes_of, read_json, start_shardcts

FEW = ("--seed", 7, "--world", "1,2,3")


def fuzz(shardcts, folder, implementation, *more):
    """How the command ended, and its fuzz.json."""
    ended = shardcts("fuzz", "--impl", implementation, "--out", folder, *FEW, *more, timeout=300)
    return ended, read_json(folder / "fuzz.json")


def test_the_reference_has_no_findings(shardcts, tmp_path):
    ended, summary = fuzz(shardcts, tmp_path / "out", "reference", "--programs", 60)
    assert ended.code == 0, ended
    assert summary["programs"] == 60
    assert summary["findings"] == []
    assert summary["legal"] >= 54
    assert summary["operations"] > 1000
    assert "fsdp.optim_state_dict" in summary["never_tried"]["operations"]
    page = (tmp_path / "out/coverage.md").read_text(encoding="utf-8")
    assert "## operation × wrapper: " in page and "| `dsd.get_model_state_dict` | " in page


def test_a_seeded_bug_is_found_and_shrunk(shardcts, tmp_path):
    """Rows are loaded in reverse order. The finding is a script that exec takes."""
    ended, summary = fuzz(shardcts, tmp_path / "out", "reference+mutant=load_reverses_rows", "--programs", 60)
    assert ended.code == 1, ended
    first = summary["findings"][0]
    assert (first["rule"], first["difference"], first["stable"]) == ("LO10", "bits", "3 of 3 runs")
    assert min(finding["steps"] for finding in summary["findings"]) <= 10  # an edit of an entry alone has 10
    script = tmp_path / "out" / first["file"]
    assert "model.load_state_dict" in [step["op"] for step in read_json(script)["steps"]]
    again = shardcts("exec", script, "--impl", "reference", "--out", tmp_path / "again")
    assert again.code == 0, again
    page = shardcts("report", tmp_path / "out")
    assert page.code == 0, page
    assert f"<b>LO10</b> <code>{first['operation']}</code>" in (tmp_path / "out/report/index.html").read_text(encoding="utf-8")


def test_a_program_alone_is_the_same_program(shardcts, tmp_path):
    """That a run finds in program 13, it finds when 13 runs alone."""
    bug = "reference+mutant=load_reverses_rows"
    _, whole = fuzz(shardcts, tmp_path / "whole", bug, "--programs", 60, "--shrink-seconds", 0)
    number = whole["findings"][0]["program"]
    ended, alone = fuzz(shardcts, tmp_path / "alone", bug, "--program", number, "--shrink-seconds", 0)
    assert ended.code == 1, ended
    told = [(entry["rule"], entry["text"]) for entry in alone["findings"]]
    assert (whole["findings"][0]["rule"], whole["findings"][0]["text"]) in told


@pytest.mark.parametrize("flags, message", [
    (["--world", "0"], "--world 0: numbers of ranks from 1 to 8"),
    (["--world", "two"], "--world two: numbers of ranks"),
    (["--rules", "XY9"], 'no rule and no area is named "XY9"'),
    (["--rules", "GE", "--against", "torch"], "leave --against out"),
    (["--against", "reference"], "is --impl itself"),
    (["--programs", "0"], "--programs 0: must be more than 0"),
    (["--seconds", "0"], "must be more than 0"),
    (["--seed", "x"], "--seed: invalid int value"),
    (["--program", "3", "--seconds", "5"], "is one program"),
    (["--deviations", "missing.toml"], "missing.toml"),
    (["--wrong"], "unrecognized arguments: --wrong"),
])  # fmt: skip
def test_bad_input_is_one_line(shardcts, tmp_path, flags, message):
    ended = shardcts("fuzz", "--impl", "reference", "--out", tmp_path / "out", *flags)
    assert ended.code == 2, ended
    assert message in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_an_unknown_implementation_is_one_line(shardcts, tmp_path):
    ended = shardcts("fuzz", "--impl", "nothing", "--programs", 5, "--out", tmp_path / "out")
    assert ended.code == 2, ended
    assert len(ended.err.splitlines()) == 1


def test_unknown_fields_of_known_deviations_are_one_line(shardcts, tmp_path):
    file = tmp_path / "known.toml"
    file.write_text('[[deviation]]\nname = "a"\nimplementation = "torch"\nevidence = "b"\nwhan = {}\n', encoding="utf-8")
    ended = shardcts("fuzz", "--impl", "reference", "--deviations", file, "--out", tmp_path / "out")
    assert ended.code == 2, ended
    assert f"{file}: deviation 1" in ended.err


def test_a_run_that_is_ended_leaves_no_process_and_keeps_its_batches(shardcts, tmp_path):
    folder = tmp_path / "out"
    process = start_shardcts("fuzz", "--impl", "reference", "--programs", 100000, "--out", folder, *FEW, cwd=tmp_path)
    assert "30 programs" in process.stdout.readline()
    time.sleep(0.5)  # the next batch is under way
    process.terminate()
    ended = end_of(process, 30)
    assert ended.code == 3, ended
    assert ended.err.strip() == "shardcts: interrupted by SIGTERM; what the programs before showed is written"
    assert processes_of(ended.pid, folder) == []
    summary = read_json(folder / "fuzz.json")
    assert summary["programs"] == summary["next_program"] == 30


def test_a_run_goes_on_where_it_ended(shardcts, tmp_path):
    folder = tmp_path / "out"
    fuzz(shardcts, folder, "reference", "--programs", 5)
    refused = shardcts("fuzz", "--impl", "reference", "--programs", 5, "--out", folder, *FEW)
    assert refused.code == 2 and "is not empty" in refused.err, refused
    ended, summary = fuzz(shardcts, folder, "reference", "--programs", 5, "--continue")
    assert ended.code == 0, ended
    assert (summary["programs"], summary["next_program"]) == (10, 10)


def test_a_folder_of_scripts_is_a_run(shardcts, tmp_path):
    """Each script is a test; one that fails says so, and the others pass."""
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    steps = [{"let": "m", "op": "model.build", "args": {"model": "linear", "args": {"in": 2, "out": 3}}}]
    wrong = [*steps, {"op": "model.state_dict", "args": {"model": "$m"}, "expect": {"error": "RuntimeError"}}]
    for name, world, its_steps in (("one", 1, steps), ("two", 2, steps), ("wrong", 2, wrong)):
        script = {"contract": 1, "world_size": world, "seed": 3, "steps": its_steps}
        (scripts / f"{name}.json").write_text(json.dumps(script), encoding="utf-8")
    ended = shardcts("exec", scripts, "--impl", "reference", "--out", tmp_path / "out")
    assert ended.code == 1, ended
    results = read_json(tmp_path / "out/results.json")
    verdicts = {test["id"]: test["verdict"] for test in results["tests"]}
    assert verdicts == {"scripts/one": "pass", "scripts/two": "pass", "scripts/wrong": "fail"}
    assert all((tmp_path / "out" / test["trace"] / "rank-0.jsonl").exists() for test in results["tests"])
    assert [pool["starts"] for pool in results["pools"]] == [1, 1]
    alone = shardcts("exec", scripts, "--impl", "reference", "--world", 2, "--out", tmp_path / "alone")
    assert alone.code == 2 and "a folder of scripts" in alone.err, alone
