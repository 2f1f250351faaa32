"""shardcts new-adapter: what it writes runs as it is; wrong names and folders are one line."""

import os
import subprocess
import sys

import pytest

from conftest import SHARDCTS


def test_what_is_written_runs_with_its_tests(shardcts, tmp_path):
    ended = shardcts("new-adapter", "tiny_rows")
    assert ended.code == 0 and f"SHARDCTS_PYTHONPATH=tiny_rows_adapter {SHARDCTS} run --impl" in ended.out, ended
    folder = tmp_path / "tiny_rows_adapter"
    written = sorted(file.name for file in folder.iterdir())
    assert written == ["README.md", "test_tiny_rows_adapter.py", "tiny_rows_adapter.py"]
    for file in folder.iterdir():
        text = file.read_text()
        assert "my_library" not in text and "MyLibrary" not in text, file
    assert "class TinyRowsAdapter(PyTorchAdapter):" in (folder / "tiny_rows_adapter.py").read_text()
    tests = subprocess.run([sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", folder], text=True,
                           capture_output=True, timeout=800, env=os.environ | {"SHARDCTS": str(SHARDCTS)})
    assert tests.returncode == 0 and "2 passed" in tests.stdout, tests.stdout + tests.stderr


def test_its_tests_notice_an_adapter_that_is_broken(shardcts, tmp_path):
    shardcts("new-adapter", "tiny_rows", "--out", "broken")
    adapter = tmp_path / "broken/tiny_rows_adapter.py"
    adapter.write_text(adapter.read_text().replace("return super().state_dict(module, prefix)", "return {}"))
    tests = subprocess.run([sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "suite",
                            tmp_path / "broken"], text=True, capture_output=True, timeout=800,
                           env=os.environ | {"SHARDCTS": str(SHARDCTS)})
    assert tests.returncode == 1 and "1 failed" in tests.stdout, tests.stdout + tests.stderr


@pytest.mark.parametrize("words, named", [
    (["My-Library"], "new-adapter My-Library: a name has letters a to z, digits and _, begins with a letter"),
    (["7up"], "new-adapter 7up: a name has letters"),
    (["x" * 61], "has at most 60 characters"),
    (["../etc"], "new-adapter ../etc: a name has letters"),
    ([""], "a name has letters"),
    (["mine", "--out", "there"], "there: exists; nothing was written"),
    (["mine", "--out", "a_file"], "a_file: exists; nothing was written"),
    (["mine", "--out", "no/such/place"], "no/such/place: No such file or directory"),
], ids=lambda value: value[0] if isinstance(value, list) else "")
def test_wrong_names_and_folders(shardcts, tmp_path, words, named):
    (tmp_path / "there").mkdir()
    (tmp_path / "a_file").write_text("kept")
    ended = shardcts("new-adapter", *words)
    assert (ended.code, ended.err.count("\n")) == (2, 1) and named in ended.err, ended
    assert not list((tmp_path / "there").iterdir()) and (tmp_path / "a_file").read_text() == "kept"
