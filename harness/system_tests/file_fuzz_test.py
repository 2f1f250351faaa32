"""The files of a run, changed at random: `shardcts recover` and the report package take them or say in one line what is
wrong; results that are made from them satisfy their own schema. SHARDCTS_FUZZ_SEED chooses other changes.
All other files: harness/fuzz."""

import copy
import json
import os
import random
import shutil
import subprocess

import pytest

from conftest import BUILD, REPOSITORY, results

import sys
sys.path.insert(0, str(REPOSITORY / "reports/tests"))

import example_run  # noqa: E402
from mutants_test import make_mutants  # noqa: E402
from shardcts_reports.load import InputError  # noqa: E402
from shardcts_reports.model import read_report  # noqa: E402
from shardcts_reports.mutants import read_mutants  # noqa: E402

FAKE = BUILD / "harness/cli/shardcts_fake"
FAKE_RANK = next(iter(BUILD.glob("**/fake_rank")), BUILD / "fake_rank")
RECOVERIES = 150
READS = 400
HOSTILE = [None, True, -1, 0, 2**63, -2**63, 10**400, 1e300, 0.5, "", "\0", "x" * 70_000, "../../etc", [], {}, [[[]]],
           {"C1": None}, {"": ""}, ["core"] * 2000, {"name": 5}]
TOKENS = [b"1e999", b"9" * 5000, b"\xff", b"\xc3", b"[" * 3000, b"{", b"NaN", b"-0", b"null", b"\n", b"\0", b'"', b"\\u0000"]


@pytest.fixture
def chance(request):
    seed = int(os.environ.get("SHARDCTS_FUZZ_SEED", random.SystemRandom().randrange(2**32)))
    print(f"SHARDCTS_FUZZ_SEED={seed}")
    return random.Random(seed)


def places(value, found, levels=100):
    """(container, key) of everything inside, as deep as `levels`."""
    for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
        found.append((value, key))
        if isinstance(item, (dict, list)) and levels > 0:
            places(item, found, levels - 1)
    return found


def changed_value(text: bytes, chance) -> bytes:
    document = json.loads(text)
    for _ in range(chance.randint(1, 3)):
        found = places(document, []) if isinstance(document, (dict, list)) else []
        if not found:
            break
        container, key = chance.choice(found)
        other, other_key = chance.choice(found)
        kind = chance.randrange(4)
        if kind == 0:
            del container[key]
        elif kind == 1:
            container[key] = json.loads(json.dumps(other[other_key]))
        else:
            container[key] = copy.deepcopy(chance.choice(HOSTILE))  # the next change may be inside it
    return json.dumps(document).encode("utf-8", "replace")


def changed_bytes(text: bytes, chance) -> bytes:
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(text) + 1)
        end = min(len(text), at + chance.randint(0, 30))
        kind = chance.randrange(4)
        part = {0: b"", 1: text[at:end] * 2, 2: chance.choice(TOKENS), 3: bytes([chance.randrange(256)])}[kind]
        text = text[:at] + part + text[end:]
    return text if chance.random() < 0.8 else text[:chance.randrange(len(text) + 1)]


def changed(text: bytes, chance) -> bytes:
    try:
        return changed_value(text, chance) if chance.random() < 0.6 else changed_bytes(text, chance)
    except ValueError:
        return changed_bytes(text, chance)


def changed_lines(text: bytes, chance) -> bytes:
    """Of a file of JSON lines: one of them, or their order."""
    lines = text.splitlines(keepends=True)
    index = chance.randrange(len(lines))
    if chance.random() < 0.2:
        lines[index:index + 1] = chance.choice([[], [lines[index]] * 2, [chance.choice(lines)]])
    else:
        lines[index] = changed(lines[index].rstrip(b"\n"), chance) + b"\n"
    return b"".join(lines)


def recover(folder):
    return subprocess.run([FAKE, "recover", folder, "--rank-program", FAKE_RANK], capture_output=True, timeout=20, text=True,
                          errors="replace")


def test_recovered_results_satisfy_their_schema(chance, tmp_path):
    """The event files are of ranks that may have written anything."""
    ended = subprocess.run([FAKE, "run", "--impl", "reference", "--rank-program", FAKE_RANK, "--filter", "test_a", "--filter",
                            "test_fail", "--repeat", "2", "--out", tmp_path / "sample"], capture_output=True, timeout=60)
    assert ended.returncode == 1, ended
    sample = tmp_path / "sample"
    files = [*sample.glob("runs/*/*/*/*.events.jsonl")] * 4 + [*sample.glob("runs/*/*/*/plan.json"), sample / "results.json"]
    codes = set()
    for _ in range(RECOVERIES):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        shutil.copytree(sample, tmp_path / "out")
        for file in {chance.choice(files) for _ in range(chance.randint(1, 2))}:
            change = changed_lines if file.suffix == ".jsonl" else changed
            (tmp_path / "out" / file.relative_to(sample)).write_bytes(change(file.read_bytes(), chance))
        ended = recover(tmp_path / "out")
        assert ended.returncode in (0, 1, 2, 3), ended
        assert "internal error" not in ended.stderr, ended
        codes.add(ended.returncode)
        if ended.returncode == 2:
            assert ended.stderr.count("\n") == 1 and str(tmp_path / "out") in ended.stderr, ended
        else:
            results(tmp_path / "out")  # strictly
    assert len(codes) > 1, "the changes never mattered, or always"


@pytest.mark.parametrize("reader, name, document", [
    (lambda path: read_report(path.parent), "results.json", example_run.make_run),
    (read_mutants, "mutants.json", make_mutants),
], ids=["results.json", "mutants.json"])
def test_the_report_takes_or_refuses(chance, tmp_path, reader, name, document):
    sample = json.dumps(document()).encode()
    path = tmp_path / name
    path.write_bytes(sample)
    reader(path)
    for _ in range(READS):
        path.write_bytes(changed(sample, chance))
        try:
            reader(path)
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error) and len(str(error)) < 5000
