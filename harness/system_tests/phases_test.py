"""Tests and scripts with phases, each on ranks of its own: their folder, their verdict, their recordings."""

import json
import os
import subprocess

import pytest

from conftest import (FAULTY, SHARDCTS, SYNTHETIC, end_of, processes_of, ranks_are_in, read_json, recording_of, results,
                      start_shardcts, wait_until)

HANDOVER = "synthetic/Synthetic.test_handover/save={},load={},n={}"
LOST = "synthetic/Synthetic.test_handover_lost/save=2,load=3"
WALK = "synthetic/Synthetic.test_walk/world_size=2,walk={}"
PHASE_2 = "phase 2 of 2 (load, 3 ranks): "


@pytest.fixture
def run_phases(run_shardcts):
    """run_phases(implementation, ids, words…) -> (Ended, Run) of the synthetic suite."""

    def call(implementation, tests, *words, **options):
        filters = [word for test in tests for word in ("--filter", test)]
        return run_shardcts(implementation, *filters, *words, program=SYNTHETIC, **options)

    return call


def with_fault(folder, test, **fault) -> str:
    (folder / "faults.json").write_text(json.dumps({test: fault}))
    return f"{FAULTY},faults={folder}/faults.json"


def test_what_some_ranks_save_others_load(run_phases):
    tests = [HANDOVER.format(save, load, 0) for save in (1, 2, 3) for load in (1, 2, 3)]
    ended, run = run_phases("reference", tests)
    assert ended.code == 0, ended
    assert run.verdicts == ["pass"] * 9
    for test in run.tests:
        save, load = test["phases"]
        assert test["id"].endswith(f"save={save['world_size']},load={load['world_size']},n=0")
        assert [len(phase["ranks"]) for phase in (save, load)] == [save["world_size"], load["world_size"]]
        assert test["checks"]["evaluated"]["C1"]["ranks"] == list(range(save["world_size"]))
        assert test["checks"]["evaluated"]["C2"]["evaluated"] == save["world_size"] * load["world_size"]
    assert not (run.folder / "storage").exists()


def test_the_number_of_pools_does_not_depend_on_that_of_tests(run_phases):
    _, run = run_phases("reference", ["*test_handover/*"], "--jobs", 1)
    assert run.verdicts == ["pass"] * 225
    assert [pool["starts"] for pool in run.document["pools"]] == [2, 2, 2]
    started = sum(sum(pool["start_seconds"]) for pool in run.document["pools"])
    assert started < run.document["run"]["seconds"] / 2, "starts do not dominate"


def test_data_that_is_lost_fails_the_phase_that_misses_it(run_phases):
    ended, run = run_phases("reference", [LOST])
    (test,) = run.tests
    assert (test["verdict"], ended.code) == ("fail", 1), ended
    assert test["reason"].startswith(PHASE_2 + "rank 0: C2: what rank 1 saved")
    assert test["reason"].endswith(f"; its folder: {test['folder']}")
    assert os.listdir(test["folder"]) == ["rank-0"]
    assert PHASE_2 in ended.out
    again, _ = run_phases("reference", [LOST])
    assert again.code == 1, "the folder that was kept is removed by the next run"


def test_a_rank_killed_in_a_phase_is_a_crash_and_later_phases_are_not_run(run_phases, tmp_path):
    test = HANDOVER.format(2, 3, 0)
    implementation = with_fault(tmp_path, test, kind="kill", rank=1, operation=3, phase=1)
    ended, run = run_phases(implementation, [test, HANDOVER.format(2, 3, 1)])
    crashed, other = run.tests
    assert (crashed["verdict"], other["verdict"], ended.code) == ("crash", "pass", 1), ended
    assert "phase 1 of 2 (save, 2 ranks): rank 1 ended without finishing its tests" in crashed["reason"]
    assert [phase["verdict"] for phase in crashed["phases"]] == ["crash", "not_run"]
    assert crashed["checks"]["missing"] == ["C1", "C2"], "the killed rank said nothing"


def test_a_rank_that_stops_in_the_second_phase_is_a_hang(run_phases, tmp_path):
    test = HANDOVER.format(2, 3, 0)
    implementation = with_fault(tmp_path, test, kind="stop", rank=2, operation=3, phase=2)
    ended, run = run_phases(implementation, [test], "--timeout", 5)
    assert (run.verdicts, ended.code) == (["hang"], 1), ended
    assert run.tests[0]["reason"].startswith(PHASE_2), run.tests[0]["reason"]


def test_shards_and_repetitions_are_of_whole_tests(run_phases):
    tests = [HANDOVER.format(2, 3, n) for n in range(4)]
    ids = []
    for shard in ("1/2", "2/2"):
        ended, run = run_phases("reference", tests, "--shard", shard, "--repeat", 2)
        assert ended.code == 0, ended
        assert all(len(test["repetitions"]) == 2 for test in run.tests)
        ids += [test["id"] for test in run.tests]
    assert sorted(ids) == tests


def test_a_run_that_was_killed_between_phases_is_continued(run_phases, tmp_path):
    tests = [HANDOVER.format(2, 3, n) for n in (0, 1)]
    implementation = with_fault(tmp_path, tests[1], kind="sleep", rank=1, operation=2, phase=1)
    words = ["--filter", tests[0], "--filter", tests[1], "--storage-root", tmp_path / "root"]
    (tmp_path / "root").mkdir()
    process = start_shardcts("run", "--impl", implementation, *words, "--out", "out", cwd=tmp_path, program=SYNTHETIC)
    wait_until(lambda: ranks_are_in(tmp_path / "out", tests[1]), 60, "the first test is between its phases")
    process.kill()
    end_of(process, 30)
    wait_until(lambda: processes_of(process.pid, tmp_path) == [], 10, "no rank is left")
    left = list((tmp_path / "root").iterdir())
    ended, run = run_phases(implementation, tests, "--storage-root", tmp_path / "root", "--continue", "--timeout", 5)
    assert run.verdicts == ["pass", "hang"], ended
    (kept,) = (tmp_path / "root").glob("*/*/*")
    assert left == list((tmp_path / "root").iterdir()) and str(kept) == run.tests[1]["folder"]


@pytest.mark.parametrize("root, says", [("none", "No such file or directory"), ("file", "is no folder"),
                                        ("/proc/self", "cannot be made a folder")])
def test_a_storage_root_that_cannot_be_used(shardcts, tmp_path, root, says):
    (tmp_path / "file").write_text("")
    ended = shardcts("run", "--impl", "reference", "--filter", HANDOVER.format(2, 3, 0), "--storage-root", root,
                     "--out", "out", program=SYNTHETIC)
    assert (ended.code, len(ended.err.splitlines())) == (2, 1), ended
    assert says in ended.err
    assert results(tmp_path / "out").verdicts == ["not_run"]


def test_a_storage_root_that_is_full(shardcts, run_phases, tmp_path):
    root = tmp_path / "small"
    root.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "none", root], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        (root / "filling").write_bytes(bytes(8192))
        ended = shardcts("run", "--impl", "reference", "--filter", HANDOVER.format(2, 3, 0), "--storage-root", root,
                         "--out", "out", program=SYNTHETIC)
        assert (ended.code, len(ended.err.splitlines())) == (2, 1), ended
        assert "No space left on device" in ended.err
        assert os.listdir(root) == ["filling"], "nothing half done"
        (root / "filling").write_bytes(bytes(4096))  # enough for the run's own file
        ended, run = run_phases("reference", [HANDOVER.format(2, 3, 0)], "--storage-root", root, out="out2")
        assert run.verdicts == ["fail"], ended
        assert " has 0 bytes left" in run.tests[0]["reason"]
    finally:
        subprocess.run(["umount", root], check=True)


def test_an_implementation_that_lacks_a_capability_cannot_load(run_phases):
    ended, run = run_phases("reference", [HANDOVER.format(2, 3, 0)], "--load-with", "python:handover:Handover")
    assert (run.verdicts, ended.code) == (["not_supported"], 3), ended
    says = "phase 2 of 2 (load, 3 ranks, python:handover:Handover): capability fsdp2 is not declared"
    assert run.tests[0]["reason"] == says
    assert not (run.folder / "storage").exists()
    ended, run = run_phases("reference", [HANDOVER.format(2, 3, 0)], "--load-with", "python:handover:Handover",
                            "--require", "fsdp2")
    assert (run.verdicts, ended.code) == (["fail"], 1), ended


def test_load_with_needs_a_phase_that_loads(shardcts):
    ended = shardcts("run", "--impl", "reference", "--filter", WALK.format(1), "--load-with", "torch", "--out", "out",
                     program=SYNTHETIC)
    assert (ended.code, ended.err) == (2, "shardcts: --load-with torch: nothing that is to run has a phase that loads\n")


def test_one_implementation_saves_and_another_loads(run_phases):
    ended, run = run_phases("reference", [HANDOVER.format(2, 3, 0), LOST], "--load-with", "reference,timings=1")
    assert run.verdicts == ["pass", "fail"], ended
    assert [phase["implementation"] for phase in run.tests[0]["phases"]] == ["reference", "reference,timings=1"]
    assert "--load-with reference,timings=1" in run.tests[1]["reproduce"]
    assert run.tests[0]["trace"].startswith("traces/reference/")


def step(**arguments):
    return {"let": "m", "op": "model.build", "args": {"model": "${folder}", "args": arguments}}


def phased_script(ranks=2) -> dict:
    read = {"op": "model.state_dict", "args": {"model": "$m"}, "expect": {"value": {"read": [5] * ranks}}}
    return {"contract": 1, "phases": [{"world": 2, "steps": [step(save=5)]},
                                      {"world": 3, "steps": [step(ranks=ranks), read]}]}


def execute(shardcts, tmp_path, script, implementation="python:handover:Handover", *words):
    (tmp_path / "script.json").write_text(json.dumps(script))
    return shardcts("exec", "script.json", "--impl", implementation, "--out", "out", *words)


def test_a_script_with_phases(shardcts, tmp_path):
    ended = execute(shardcts, tmp_path, phased_script())
    assert ended.code == 0, ended
    assert not (tmp_path / "out/storage").exists()
    recorded = recording_of(tmp_path / "out", "python_handover_Handover")
    assert [phase["world"] for phase in recorded["phases"]] == [2, 3]
    assert [phase["role"] for phase in recorded["phases"]] == ["save", "load"]
    assert recorded["phases"][1]["steps"][0]["args"]["model"] == "${folder}"


def test_a_phase_of_a_script_that_fails_is_named(shardcts, tmp_path):
    ended = execute(shardcts, tmp_path, phased_script(), "python:handover:Losing")
    assert ended.code == 1, ended
    assert f"fail: {PHASE_2}" in ended.out and "phases[1].steps[0] model.build: FileNotFoundError" in ended.out
    (kept,) = (tmp_path / "out/storage/python_handover_Losing").iterdir()
    assert f"; its folder: {kept}" in ended.out
    ended = execute(shardcts, tmp_path, phased_script(), "python:handover:Handover", "--load-with",
                    "python:handover:Losing")
    assert ended.code == 0, ended


def test_recordings_with_phases_are_replayed(shardcts, tmp_path):
    assert execute(shardcts, tmp_path, phased_script()).code == 0
    recording = tmp_path / "out/traces/python_handover_Handover/script"
    ended = shardcts("replay", recording, "--impl", "python:handover:Handover", "--out", "again")
    assert ended.code == 0, ended
    assert "8 operations" in ended.out
    shardcts("export", recording, "--out", "x.zip")
    ended = shardcts("replay", "x.zip", "--impl", "python:handover:Losing", "--out", "other")
    assert ended.code == 1, ended
    assert "first difference: phase 2 step 0 model.build rank 0: expected no error, actual FileNotFoundError" in ended.out


@pytest.mark.parametrize("change, says", [
    (lambda s: s["phases"][1].update(world=0), "phases[1]: world_size 0"),
    (lambda s: s["phases"][1]["steps"].clear(), "phases[1]: no steps"),
    (lambda s: s["phases"][1].update(role="laod"), 'phases[1]: unknown role "laod"; the nearest known one is "load"'),
    (lambda s: s["phases"][1].update(step=[]), 'phases[1]: unknown key "step"; the nearest known one is "steps"'),
    (lambda s: s.update(steps=[]), 'has "phases", so "steps" belongs into each of them'),
    (lambda s: s.update(phases=s["phases"] * 5), '"phases" is no list of 1 to 8 phases'),
    (lambda s: s["phases"][0]["steps"][0]["args"].update(model="${folder}/../x"),
     'phases[0].steps[0]: "${folder}/../x" leaves the folder'),
    (lambda s: s["phases"][1]["steps"][1]["args"].update(model="$n"), 'phases[1].steps[1]: "$n" names no earlier step'),
    (lambda s: s["phases"][1]["steps"].insert(0, {"op": "model.state_dict", "args": {"model": "$m"}}),
     'phases[1].steps[0]: "$m" names no earlier step'),
])
def test_wrong_scripts_with_phases_are_one_line_with_the_place(shardcts, tmp_path, change, says):
    script = phased_script()
    change(script)
    ended = execute(shardcts, tmp_path, script)
    assert (ended.code, len(ended.err.splitlines())) == (2, 1), ended
    assert says in ended.err
    assert not (tmp_path / "out").exists(), "nothing was begun"


def test_only_scripts_with_phases_have_a_folder(shardcts, tmp_path):
    script = {"contract": 1, "world_size": 1, "steps": [step(save=1)]}
    ended = execute(shardcts, tmp_path, script)
    assert (ended.code, ended.err) == (2, "shardcts: script.json: steps[0]: only a script with phases has a ${folder}\n")
    ended = execute(shardcts, tmp_path, phased_script(), "python:handover:Handover", "--world", 2)
    assert ended.code == 2 and "has phases" in ended.err


def test_the_report_shows_the_phases(shardcts, run_phases, tmp_path):
    run_phases("reference", [HANDOVER.format(2, 3, 0), LOST])
    ended = shardcts("report", "out", "--out", "report", program=SHARDCTS)
    assert ended.code == 0, ended
    assert "phase 2 of 2 (load, 3 ranks)" in (tmp_path / "report/summary.md").read_text()
    assert read_json(tmp_path / "out/results.json")["tests"][1]["phases"][0]["role"] == "save"
