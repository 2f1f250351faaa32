"""shardcts checkpoint: what it shows of a checkpoint, and what it finds wrong."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import SHARDCTS

GOLDEN = Path(__file__).parents[2] / "reference_impl/storage/testing/golden/dcp_2_13"


@pytest.fixture
def checkpoint(tmp_path):
    return Path(shutil.copytree(GOLDEN, tmp_path / "checkpoint"))


@pytest.fixture
def look():
    def run(path, *flags):
        command = [SHARDCTS, "checkpoint", path, *flags]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return ended.returncode, ended.stdout, ended.stderr

    return run


def test_a_checkpoint_of_pytorch_is_shown(look, checkpoint):
    code, text, _ = look(checkpoint)
    assert code == 0, text
    assert "model.rows" in text and "no problems" in text
    code, text, _ = look(checkpoint, "--json")
    assert code == 0
    shown = json.loads(text)
    assert shown["format"] == "dcp" and shown["problems"] == [] and shown["data_checked"]
    rows = shown["tensors"]["model.rows"]
    assert (rows["dtype"], rows["shape"], rows["bytes"]) == ("float32", [5, 3], 60)
    assert [chunk["offsets"] for chunk in rows["chunks"]] == [[0, 0], [3, 0]]
    assert {chunk["checksum"] for chunk in rows["chunks"]} == {"crc32"}
    assert shown["values"]["step"] == 3 and shown["values"]["text"] == "größe"


def test_a_missing_file_is_a_problem(look, checkpoint):
    (checkpoint / "__1_0.distcp").unlink()
    code, text, _ = look(checkpoint, "--json")
    shown = json.loads(text)
    assert code == 1 and any("__1_0.distcp: open" in problem for problem in shown["problems"])
    assert "model.rows" in shown["tensors"]


def test_changed_data_are_a_problem(look, checkpoint):
    file = checkpoint / "__0_0.distcp"
    data = bytearray(file.read_bytes())
    place = data.index(b"\x00\x00\x40\x40")  # 3.0
    data[place + 1] ^= 0x10
    file.write_bytes(data)
    code, text, _ = look(checkpoint)
    assert code == 1 and '"model.rows": the bytes of chunk [0:3, 0:3]' in text
    assert look(checkpoint, "--structure-only")[0] == 0


def test_a_call_in_the_metadata_is_named_and_not_run(look, checkpoint):
    made = checkpoint.parent / "made"
    call = b"cposix\nmkdir\n(X" + len(str(made)).to_bytes(4, "little") + str(made).encode() + b"tR."
    (checkpoint / ".metadata").write_bytes(b"\x80\x02" + call)
    code, text, _ = look(checkpoint)
    assert code == 1 and "names posix mkdir, which no checkpoint needs" in text
    assert not made.exists()


def test_files_that_do_not_belong_are_notes(look, checkpoint):
    (checkpoint / "__7_0.distcp").write_bytes(b"of another save")
    code, text, _ = look(checkpoint)
    assert code == 0 and "__7_0.distcp has data that the checkpoint does not use" in text


def safetensors(entries: dict, data: bytes) -> bytes:
    header = json.dumps(entries).encode()
    return len(header).to_bytes(8, "little") + header + data


def test_safetensors_are_shown_with_their_index(look, tmp_path):
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(safetensors({"a": entry}, bytes(8)))
    index = {"metadata": {"total_size": 9}, "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "../b.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    code, text, _ = look(tmp_path, "--json")
    problems = "\n".join(json.loads(text)["problems"])
    assert code == 1
    assert "file 2 of 2 is missing" not in problems, "the index says which numbers there are"
    assert 'the folder has no file "../b.safetensors"' in problems
    assert "total_size is 9, the tensors have 8 bytes" in problems
    assert look(tmp_path / "model-00001-of-00002.safetensors")[0] == 0
    (tmp_path / "model.safetensors.index.json").unlink()
    assert "file 2 of 2 is missing" in look(tmp_path)[1]


def test_wrong_use_is_another_exit_code(look, tmp_path):
    assert look(tmp_path / "nowhere")[0] == 2
    code, text, _ = look(tmp_path)
    assert code == 1 and "neither checkpoint.json nor .metadata nor files of safetensors" in text
