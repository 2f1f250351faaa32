"""Wrong commands, files and adapters: one line that names the thing, exit code 2, and nothing taken for a result."""

import json
import resource

import pytest

from conftest import BUILD, CACHED, REPOSITORY, SUITE, read_json

SMALL = ("--filter", f"{SUITE}.test_cached_state_dict/world_size=2,mlp_dim=2,mutate_after_state_dict=false")
NO_ENTRY_POINT = BUILD / "harness/adapters/libshardcts_test_no_entry_point.so"
OTHER_CONTRACT = BUILD / "harness/adapters/libshardcts_test_other_abi.so"


def is_one_line_that_names(ended, *parts):
    assert ended.code == 2, ended
    assert ended.err.count("\n") == 1, ended
    assert "Traceback" not in ended.err
    for part in parts:
        assert part in ended.err, ended
    return True


@pytest.mark.parametrize("words, named", [
    (["fly"], "fly"),
    (["run", "--impl", "nothing"], "unknown implementation 'nothing'"),
    (["run", "--impl", "reference", "--suite", "nothing"], "--suite nothing"),
    (["run", "--impl", "reference", "--filter", "nothing"], "--filter nothing: fits no test"),
    (["run", "--impl", "reference", "--fast"], "--fast"),
    (["run", "--impl", "reference", "--out", ""], "--out: is empty"),
    (["run", "--impl", "reference,timngs=1"], 'unknown option "timngs"; the nearest known one is "timings"'),
    (["run", "--impl", "reference+mutant=state_dict_clone", *SMALL],
     'unknown mutant "state_dict_clone"; the nearest known one is "state_dict_cloned"'),
    (["run", "--impl", "torch,device=tpu", *SMALL], "tpu"),
    (["mutants", "--impl", "reference", "--mutant", "nothing", *SMALL], 'unknown mutant "nothing"'),
    (["run", "--impl", "reference", "--require", "nothing"], '--require nothing: unknown capability "nothing"; the nearest known one is "'),
    (["run", "--impl", "reference", "--waivers", "nothing.toml"], "nothing.toml: cannot be read"),
    (["list", "--waivers", "nothing.toml"], "nothing.toml: cannot be read"),
    (["exec", "nothing.json", "--impl", "reference"], "nothing.json: cannot be read"),
    (["replay", "nothing.json", "--impl", "reference"], "nothing.json: cannot be read"),
    (["report", "nothing"], "nothing/results.json: cannot be read"),
    (["parity", "nothing", "nothing"], "nothing/results.json: cannot be read"),
    (["list", "--world", "9"], "--world"),
], ids=lambda value: " ".join(value[:4]) if isinstance(value, list) else "")
def test_wrong_words(shardcts, words, named):
    assert is_one_line_that_names(shardcts(*words), "shardcts: ", named)


@pytest.mark.parametrize("implementation, named", [
    ("python:no_such_module:Adapter", ["module 'no_such_module' cannot be imported", "ModuleNotFoundError"]),
    ("python:raising_module:Adapter", ["module 'raising_module' cannot be imported: RuntimeError: no driver found"]),
    ("python:unusable:Missing", ["has no class 'Missing'"]),
    ("python:unusable:RaisingConstructor", ["constructor of 'RaisingConstructor' raised KeyError", "licence"]),
    ("python:unusable:RaisingOnOneRank", ["constructor of 'RaisingOnOneRank' raised OSError: no such device"]),
    ("python:unusable:WithoutName", ["name: is empty"]),
    ("python:unusable:WithoutVersion", ["version: is empty"]),
    ("python:unusable:OfAnotherContract", ["class 'OfAnotherContract'", "is written for version 7 of the contract, this program"]),
    ("./nothing.so", ["nothing.so"]),
    (str(NO_ENTRY_POINT), [str(NO_ENTRY_POINT), "no entry point shardcts_contract_abi"]),
    (str(OTHER_CONTRACT), [str(OTHER_CONTRACT), "built for contract ABI 'shardcts-contract-0 of old'", "this harness"]),
], ids=lambda value: value.rsplit("/", 1)[-1] if isinstance(value, str) else "")
def test_implementation_that_cannot_be_made(shardcts, tmp_path, implementation, named):
    ended = shardcts("run", "--impl", implementation, *SMALL, "--out", "out")
    assert is_one_line_that_names(ended, "shardcts: ", *named)
    left = tmp_path / "out/results.json"
    assert not left.exists() or read_json(left)["complete"] is False


@pytest.mark.parametrize("launcher, named", [
    ("no-such-launcher -n {ranks}", "no-such-launcher: cannot be started: No such file or directory"),
    ("false {ranks}", 'the launcher "false {ranks}" ended with exit code 1 before any rank had started'),
    ("mpiexec -n 1", "the launcher started 1 ranks, the plan needs 2"),
    ("./two_slots -n {ranks}", "before any rank had started; last log line: not enough slots for 4 processes"),
], ids=["not there", "fails", "too few ranks", "too few slots"])
def test_launcher_that_starts_no_pool(shardcts, tmp_path, launcher, named):
    slots = tmp_path / "two_slots"
    slots.write_text('#!/bin/sh\n[ "$2" -le 2 ] || { echo "not enough slots for $2 processes"; exit 213; }\n')
    slots.chmod(0o755)
    tests = SMALL if "slots" not in launcher else ("--filter", CACHED.format(4))
    assert is_one_line_that_names(shardcts("run", "--impl", "reference", *tests, "--launcher", launcher, "--out", "out"),
                                  named)
    assert {test["verdict"] for test in read_json(tmp_path / "out/results.json")["tests"]} == {"not_run"}


@pytest.mark.parametrize("place", ["a_file", "a_file/below", "/proc/shardcts"])
def test_output_folder_that_cannot_be_made(shardcts, tmp_path, place):
    (tmp_path / "a_file").write_text("kept")
    assert is_one_line_that_names(shardcts("run", "--impl", "reference", *SMALL, "--out", place), place)
    assert (tmp_path / "a_file").read_text() == "kept"


def test_folder_that_is_no_run_is_left_alone(shardcts, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/one").write_text("kept")
    ended = shardcts("run", "--impl", "reference", *SMALL, "--out", "photos")
    assert is_one_line_that_names(ended, "photos: is not empty and holds no earlier run")
    assert [file.name for file in (tmp_path / "photos").iterdir()] == ["one"]


@pytest.mark.parametrize("kept", [0, 0.5, 0.99], ids=["empty", "half", "almost whole"])
@pytest.mark.parametrize("command", [("report", "out"), ("parity", "out", "out")], ids=["report", "parity"])
def test_truncated_results_are_no_results(shardcts, run_shardcts, tmp_path, command, kept):
    run_shardcts("reference", *SMALL)
    file = tmp_path / "out/results.json"
    text = file.read_text()
    file.write_text(text[: int(len(text) * kept)])
    assert is_one_line_that_names(shardcts(*command), "out/results.json")
    assert not (tmp_path / "out/report").exists()


def test_results_that_contradict_themselves_are_refused_by_the_report(shardcts, run_shardcts, tmp_path):
    run_shardcts("reference", "--filter", CACHED.format(2))
    file = tmp_path / "out/results.json"
    file.write_text(file.read_text().replace('"verdict": "pass"', '"verdict": "fail"', 1))
    assert is_one_line_that_names(shardcts("report", "out"), "out/results.json")


def test_truncated_recording_is_no_recording(shardcts, run_shardcts, tmp_path):
    _, run = run_shardcts("reference", *SMALL)
    file = tmp_path / "out" / run.tests[0]["trace"] / "rank-0.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    lines[1] = lines[1][: len(lines[1]) // 2] + "\n"
    file.write_text("".join(lines))
    assert is_one_line_that_names(shardcts("parity", "out", "out"), "rank-0.jsonl: line 2: not JSON")


SEED = {"op": "implementation.seed", "args": {"seed": 1}}


@pytest.mark.parametrize("text, named", [
    ("", "script.json: "),
    ("seed 7", "script.json: "),
    ('{"contract": 1, "steps": [', "script.json: "),
    ("[" * 100_000, "script.json: "),
    ("[]", "script.json: not an object"),
    ({"contract": 99, "steps": [SEED]}, "script.json: contract 99, this program has 1"),
    ({"contract": 1}, '"steps" is missing'),
    ({"contract": 1, "world_size": 100_000, "steps": [SEED]}, "script.json: world_size 100000"),
    ({"contract": 1, "steps": [SEED, {"op": "model.fly"}]}, 'script.json: steps[1]: unknown operation "model.fly"; the nearest known one is "model.fill"'),
    ({"contract": 1, "steps": [{"op": "implementation.seed", "args": {"sed": 1}}]}, 'unknown argument "sed"; the nearest known one is "seed"'),
    ({"contract": 1, "steps": [{"op": "implementation.seed"}]}, 'argument "seed" is missing'),
    ({"contract": 1, "steps": [{"op": "implementation.seed", "args": {"seed": "x"}}]},
     'steps[0]: implementation.seed: argument "seed": expected int, got "x"'),
    ({"contract": 1, "steps": [{"op": "model.wrap", "args": {
        "model": {"$handle": "model:1"}, "path": "", "wrapper": "ddp", "options": {"group": 1}}}]},
     'unknown argument "options.group"; the nearest known one is "options.process_group"'),
    ({"contract": 1, "steps": [{"op": "model.parameters", "args": {"model": "$nobody"}}]},
     'steps[0]: "$nobody" names no earlier step'),
    ({"contract": 1, "steps": [{"op": "model.parameters", "args": {"model": {"$ref": [3]}}}]},
     "steps[0]: $ref [3] names no earlier step"),
    ({"contract": 1, "steps": [{"op": "model.parameters", "args": {"model": {"$handle": "mesh:0"}}}]},
     "steps[0]: model.parameters: argument"),
    ({"contract": 1, "steps": [{"op": "model.parameters", "args": {"model": {"$handle": 7}}}]},
     "steps[0]: model.parameters: argument"),
    ({"contract": 1, "steps": [{"op": "tensor.clone", "args": {"value": {"$tensor": {
        "shape": [9_999_999_999, 9_999_999], "dtype": "float32", "data": ""}}}}]}, "steps[0]: tensor.clone: argument"),
], ids=lambda value: value[:40] if isinstance(value, str) else "")
def test_script_that_cannot_be_run(shardcts, tmp_path, text, named):
    (tmp_path / "script.json").write_text(text if isinstance(text, str) else json.dumps(text))
    assert is_one_line_that_names(shardcts("exec", "script.json", "--impl", "reference", "--out", "out"), named)
    assert not (tmp_path / "out").exists()


def test_handle_of_nothing_is_the_implementations_error(shardcts, tmp_path):
    """Whether a handle names something, only the implementation knows: the step fails, and says so."""
    (tmp_path / "script.json").write_text(json.dumps(
        {"contract": 1, "steps": [{"op": "model.parameters", "args": {"model": {"$handle": "model:7"}}}]}))
    ended = shardcts("exec", "script.json", "--impl", "reference", "--out", "out")
    assert ended.code == 1, ended
    assert "steps[0] model.parameters: ValueError: no model has the handle model:7" in ended.out


def test_scripts_whose_recordings_would_be_in_one_folder(shardcts, tmp_path):
    script = (REPOSITORY / "docs/examples/assign_into_fsdp.json").read_text()
    (tmp_path / "scripts").mkdir()
    for name in ("a b", "a_b"):
        (tmp_path / f"scripts/{name}.json").write_text(script)
    ended = shardcts("exec", "scripts", "--impl", "reference", "--out", "out")
    assert ended.code == 2, ended
    assert "a b.json and " in ended.err and "a_b.json: these names differ in signs only" in ended.err, ended


def test_a_limit_of_the_size_of_files_is_named(shardcts, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard))
    try:
        ended = shardcts("run", "--impl", "reference", *SMALL, "--out", "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert is_one_line_that_names(ended, "File too large")
