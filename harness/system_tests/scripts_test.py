"""Scripts written by hand and recordings of tests, on other implementations than they come from."""

import json
import shutil
import zipfile

import pytest

from conftest import FOLDER, SAVE_LOAD, read_json, recording_of

SCRIPT = FOLDER / "scripts/linear_stack.json"


def executed(shardcts, folder, implementation):
    """The recording of the script on this implementation."""
    ended = shardcts("exec", SCRIPT, "--impl", implementation, "--world", 3, "--out", folder)
    assert ended.code == 0, ended
    assert "pass" in ended.out
    return recording_of(folder, implementation)


def without_error_messages(outcomes):
    """The contract names the kind of an error; its text is the implementation's own."""
    return [{"error": outcome["error"]["kind"]} if "error" in outcome else outcome for outcome in outcomes]


def test_script_gives_the_same_outcomes_on_the_reference_and_on_pytorch(shardcts, tmp_path):
    reference = executed(shardcts, tmp_path / "reference", "reference")
    torch = executed(shardcts, tmp_path / "torch", "torch")

    full = [outcome["value"]["$tensor"] for outcome in reference["steps"][4]["outcomes"]]
    assert [tensor["shape"] for tensor in full] == [[7, 5]] * 3
    assert len({tensor["digest"] for tensor in full}) == 1
    local = [outcome["value"]["0.weight"]["$dtensor"]["local"] for outcome in reference["steps"][3]["outcomes"]]
    assert [tensor["shape"] for tensor in local] == [[3, 5], [3, 5], [1, 5]]
    assert [outcome["error"]["kind"] for outcome in reference["steps"][5]["outcomes"]] == ["RuntimeError"] * 3

    assert [step["op"] for step in torch["steps"]] == [step["op"] for step in reference["steps"]]
    for step, other in zip(reference["steps"], torch["steps"]):
        assert without_error_messages(step["outcomes"]) == without_error_messages(other["outcomes"]), step["op"]


def test_script_that_expects_something_else_fails(shardcts, tmp_path):
    script = read_json(SCRIPT)
    script["steps"][5]["expect"] = {"error": "KeyError"}
    (tmp_path / "script.json").write_text(json.dumps(script))
    ended = shardcts("exec", "script.json", "--impl", "reference", "--out", "out")
    assert ended.code == 1, ended
    assert "steps[5] model.load_state_dict: expected KeyError, actual RuntimeError" in ended.out


@pytest.fixture(scope="module")
def recorded_run(tmp_path_factory):
    return tmp_path_factory.mktemp("recorded") / "out"


@pytest.fixture
def recording(run_shardcts, recorded_run):
    """The recording of a passing test, made on the reference once, never changed."""
    if not recorded_run.exists():
        ended, run = run_shardcts("reference", "--filter", SAVE_LOAD, "--trace", "full", out=recorded_run)
        assert (ended.code, run.verdicts) == (0, ["pass"]), ended
    return recorded_run / read_json(recorded_run / "results.json")["tests"][0]["trace"]


@pytest.fixture
def archive(shardcts, recording, tmp_path):
    ended = shardcts("export", recording, "--out", "recording.zip")
    assert ended.code == 0, ended
    assert ended.out == f"recording.zip: {(tmp_path / 'recording.zip').stat().st_size} bytes\n"
    return tmp_path / "recording.zip"


def entries(archive):
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def write_archive(file, content):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, data in content.items():
            opened.writestr(name, data)


def test_recording_of_the_reference_holds_on_pytorch(shardcts, recording, archive):
    for number, recorded in enumerate([recording, archive]):
        ended = shardcts("replay", recorded, "--impl", "torch", "--out", f"replay-{number}")
        assert ended.code == 0, ended
        assert "0 differences of value, 0 of structure" in ended.out
        assert "\npass\n" in ended.out


def test_an_archive_is_a_script(shardcts, archive, tmp_path):
    """Also unpacked, with its blobs beside it; what it expects can be changed."""
    ended = shardcts("exec", archive, "--impl", "reference", "--out", "packed")
    assert ended.code == 0, ended
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path / "unpacked")
    script = read_json(tmp_path / "unpacked/script.json")
    for step in script["steps"]:
        del step["outcomes"]
    script["steps"][-1]["expect"] = {"error": "KeyError"}
    (tmp_path / "unpacked/script.json").write_text(json.dumps(script))
    ended = shardcts("exec", "unpacked/script.json", "--impl", "reference", "--out", "unpacked-out")
    assert ended.code == 1, ended
    assert f"steps[{len(script['steps']) - 1}]" in ended.out and "expected KeyError" in ended.out


def test_replay_on_a_mutant_names_the_first_difference(shardcts, archive):
    ended = shardcts("replay", archive, "--impl", "reference+mutant=state_dict_reversed", "--out", "replay")
    assert ended.code == 1, ended
    (line,) = [line for line in ended.out.splitlines() if line.startswith("first difference: ")]
    assert "model.state_dict" in line
    assert "step" in line
    assert "\nfail: the outcomes are not the recorded ones\n" in ended.out
    assert "\npass" not in ended.out


def cut(text):
    return text[: len(text) // 2]


def without_outcomes(text):
    recorded = json.loads(text)
    for step in recorded["steps"]:
        del step["outcomes"]
    return json.dumps(recorded)


def without_outcomes_of_one_step(text):
    recorded = json.loads(text)
    del recorded["steps"][-1]["outcomes"]
    return json.dumps(recorded)


def with_another_first_operation(text):
    recorded = json.loads(text)
    recorded["steps"][0]["op"] = "model.fly"
    return json.dumps(recorded)


def with_outcome_of_one_rank_only(text):
    recorded = json.loads(text)
    recorded["steps"][-1]["outcomes"].pop()
    return json.dumps(recorded)


@pytest.mark.parametrize("tamper", [
    cut, without_outcomes, without_outcomes_of_one_step, with_another_first_operation, with_outcome_of_one_rank_only],
    ids=lambda tamper: tamper.__name__)
def test_tampered_recording_is_wrong_input(shardcts, archive, tmp_path, tamper):
    content = entries(archive)
    original = content["script.json"].decode()
    assert tamper(original) != original
    write_archive(tmp_path / "tampered.zip", {**content, "script.json": tamper(original)})
    ended = shardcts("replay", "tampered.zip", "--impl", "reference", "--out", "replay")
    assert is_one_line_about(ended, "tampered.zip")


def is_one_line_about(ended, named):
    assert ended.code == 2, ended
    assert ended.err.startswith("shardcts: "), ended
    assert named in ended.err, ended
    assert ended.err.count("\n") == 1, ended
    return True


def first_blob(content):
    return next(name for name in content if name.startswith("blobs/"))


def with_another_blob(content):
    return {**content, first_blob(content): b"other"}


def without_blobs(content):
    return {"script.json": content["script.json"]}


def with_a_strange_entry(content):
    return {**content, "../../evil": b"x"}


def with_a_bomb(content):
    return {**content, "script.json": b" " * (300 << 20)}


@pytest.mark.parametrize("change, named", [
    (with_another_blob, "has other bytes than its digest says"),
    (without_blobs, "cannot be read"),
    (with_a_strange_entry, 'an entry is called "../../evil"'),
    (with_a_bomb, "script.json: larger than"),
], ids=lambda value: getattr(value, "__name__", ""))
def test_changed_archive_is_wrong_input(shardcts, archive, tmp_path, change, named):
    write_archive(tmp_path / "changed.zip", change(entries(archive)))
    assert is_one_line_about(shardcts("replay", "changed.zip", "--impl", "reference", "--out", "replay"), named)
    assert not (tmp_path / "replay").exists()


def test_cut_archive_is_wrong_input(shardcts, archive, tmp_path):
    (tmp_path / "cut.zip").write_bytes(archive.read_bytes()[:-30])
    assert is_one_line_about(shardcts("exec", "cut.zip", "--impl", "reference", "--out", "out"), "cut.zip: ")


def test_lost_blob_of_a_run_folder_is_wrong_input(shardcts, recorded_run, recording, tmp_path):
    copy = shutil.copytree(recorded_run, tmp_path / "copy")
    for blob in (copy / "blobs").iterdir():
        blob.unlink() if blob.is_file() else blob.rmdir()
    test = copy / recording.relative_to(recorded_run)
    assert is_one_line_about(shardcts("export", test, "--out", "x.zip"), "cannot be read")
    assert not (tmp_path / "x.zip").exists()


def test_expected_tensor_without_data_is_wrong_input(shardcts, tmp_path):
    script = {"contract": 1, "steps": [{"op": "implementation.seed", "args": {"seed": 1}, "expect": {
        "value": {"$tensor": {"shape": [2], "dtype": "float32"}}}}]}
    (tmp_path / "script.json").write_text(json.dumps(script))
    ended = shardcts("exec", "script.json", "--impl", "reference", "--out", "out")
    assert is_one_line_about(ended, "script.json: steps[0]: expect: value: a tensor without data")
    assert not (tmp_path / "out").exists()


def test_collective_on_some_ranks_only_is_wrong_input(shardcts):
    ended = shardcts("exec", FOLDER / "scripts/one_rank_in_a_collective.json", "--impl", "reference", "--out", "out")
    assert ended.code == 2, ended
    assert ended.err.endswith("steps[1]: model.wrap is collective: all ranks must call it (or these \"among\" themselves)\n")
