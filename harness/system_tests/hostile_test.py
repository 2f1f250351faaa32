"""Whatever an implementation says or does is bounded, typed and its own fault, in its own test."""

import json
import resource
import unicodedata

import pytest

from conftest import BUILD, CACHED, results

OTHERS_PASS = ["pass", "pass", "pass"]


def verdicts_beside(run, faulty):
    return [test["verdict"] for test in run.tests if test is not faulty]


RESULTS = {
    "sparse": "a tensor of layout Sparse",
    "expanded": "a tensor of shape (1099511627776,) that repeats the 4 bytes of its storage",
    "overlapping": "that repeats the 4096 bytes of its storage",
    "quantized": "a tensor of dtype QInt8, which the contract does not have",
    "itself": "nested more than 100 deep",
    "deep": "nested more than 100 deep",
    "huge": "an int of more than 64 bits",
    "surrogate": "a text that is not Unicode",
}


def test_a_result_that_nobody_can_take_fails_its_test(run_shardcts):
    names = {f"python:hostile:Hostile,result={result}": said for result, said in RESULTS.items()}
    ended, whole = run_shardcts(list(names), "--filter", CACHED.format(2))
    assert ended.code == 1 and whole.complete, ended
    for name, said in names.items():
        run = whole.of(name)
        faulty = run.test("mlp_dim=3,")
        assert faulty["verdict"] == "fail" and said in faulty["reason"], (name, ended)
        assert "ContractViolation" in faulty["reason"] and "model.forward" in faulty["reason"]
        assert verdicts_beside(run, faulty) == OTHERS_PASS and run.starts() == 1, name
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 4 << 20  # KiB


def test_an_error_of_a_million_characters_is_shortened(run_shardcts, shardcts, tmp_path):
    ended, run = run_shardcts("python:hostile:LongTexts", "--filter", CACHED.format(2))
    assert set(run.verdicts) == {"fail"}
    assert ended.code == 1
    assert len(ended.out) < 20_000
    assert "(1000001 bytes)" in run.tests[0]["failures"][0]["message"]
    assert (tmp_path / "out/results.json").stat().st_size < 4_000_000
    assert shardcts("report", "out").code == 0


def test_a_text_that_is_not_unicode_does_not_hide_the_error(run_shardcts):
    ended, run = run_shardcts("python:hostile:HalfACharacter", "--filter", CACHED.format(2))
    assert set(run.verdicts) == {"fail"} and r"ValueError: \ud800abc" in run.tests[0]["reason"], ended


FORWARD = {"contract": 1, "world_size": 1, "steps": [
    {"let": "model", "op": "model.build", "args": {"model": "linear", "args": {"in": 2, "out": 2}}},
    {"op": "model.forward", "args": {"model": "$model", "inputs": []}}]}


@pytest.mark.parametrize("command", ["run", "exec"])
def test_nothing_that_an_implementation_says_controls_the_terminal(shardcts, tmp_path, command):
    (tmp_path / "script.json").write_text(json.dumps(FORWARD))
    words = {"run": ("--filter", CACHED.format(2)), "exec": ("script.json",)}[command]
    ended = shardcts(command, *words, "--impl", "python:hostile:ControlsTheTerminal", "--out", "out")
    assert ended.code == 1 and "?[2J?[8mevil??2J ?gnp.exe??" in ended.out, ended
    controls = {one for one in ended.out + ended.err if unicodedata.category(one) in ("Cc", "Cf", "Zl")}
    assert controls == {"\n"}
    assert "\ufffd" not in ended.out


@pytest.mark.parametrize("name, said", [
    ("NumberForName", "implementation.describe: name: expected a text, got 5"),
    ("LongName", "implementation.describe: name: longer than 1000 bytes"),
    ("CapabilitiesOfNumbers", "implementation.describe: capabilities[0]: expected a text, got 1"),
    ("NumberForDescription", "implementation.describe: expected a dict, got 5"),
    ("Misspelled", '@operation: unknown operation "model.forwrd"; the nearest known one is "model.forward"'),
    ("OtherByRank", "implementation.describe: rank 0 is "),
    ("BasedOnNothing", 'based_on: unknown implementation "troch"; the nearest known one is "torch"'),
    ("KilledConstructor", "while the implementation was made: rank 1 ended"),
    ("ExitingConstructor", "while the implementation was made: "),
])
def test_an_implementation_that_cannot_be_made_or_described_is_wrong_input(shardcts, tmp_path, name, said):
    ended = shardcts("run", "--impl", f"python:hostile:{name}", "--filter", CACHED.format(2), "--out", "out")
    assert ended.code == 2, ended
    assert ended.err.count("\n") == 1 and "hostile" in ended.err and said in ended.err, ended
    assert set(results(tmp_path / "out").verdicts) == {"not_run"}


def test_a_library_that_throws_a_number_is_wrong_input(shardcts):
    library = BUILD / "harness/adapters/libshardcts_test_throwing_int.so"
    ended = shardcts("run", "--impl", f"{library},at=constructor", "--filter", CACHED.format(2), "--out", "out")
    assert ended.code == 2, ended
    assert "shardcts_create threw what is no std::exception" in ended.err


def test_a_crash_in_reset_is_of_the_test_whose_objects_are_dropped(run_shardcts):
    ended, run = run_shardcts("python:hostile:CrashingInReset", "--filter", CACHED.format(2))
    faulty = run.test("mlp_dim=3,")
    assert (faulty["verdict"], ended.code) == ("crash", 1), ended
    assert verdicts_beside(run, faulty) == OTHERS_PASS
    assert run.starts() == 2


def test_what_can_never_be_reset_again_is_made_anew(run_shardcts):
    ended, run = run_shardcts("python:hostile:RaisingInEveryReset", "--filter", CACHED.format(2))
    faulty = run.test("mlp_dim=3,")
    assert (faulty["verdict"], ended.code) == ("fail", 1), ended
    assert "after the test: implementation.reset: RuntimeError: nothing can be dropped any more" in faulty["reason"]
    assert verdicts_beside(run, faulty) == OTHERS_PASS


def test_values_that_a_test_cannot_work_with_fail_it(run_shardcts):
    ended, run = run_shardcts("python:hostile:ChunksWithoutSizes", "--suite", "storage", "--filter", "*/RK1/*")
    assert run.verdicts and set(run.verdicts) == {"fail"}, ended
    assert ended.code == 1 and "after storage.describe the test cannot go on with the values that it was given: " in run.tests[0]["reason"], ended
