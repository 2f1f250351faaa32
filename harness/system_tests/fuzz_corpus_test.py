"""The corpus of random programs that the repository keeps: nothing on the reference, nothing new on PyTorch, and seeded bugs
show in it."""

import json
from pathlib import Path

import pytest

from conftest import BUILD, read_json

CORPUS = Path(__file__).resolve().parents[1] / "fuzz/corpus"
SCRIPTS = sorted(CORPUS.glob("*.json"))


def fuzz(shardcts, folder, implementation, *more):
    ended = shardcts("fuzz", "--impl", implementation, "--corpus", CORPUS, "--shrink-seconds", 0, "--out", folder, *more, timeout=250)
    return ended, read_json(folder / "fuzz.json")


def test_the_reference_has_no_findings(shardcts, tmp_path):
    ended, summary = fuzz(shardcts, tmp_path / "out", "reference")
    assert ended.code == 0, ended
    assert (summary["programs"], summary["legal"], summary["findings"]) == (len(SCRIPTS), len(SCRIPTS), [])


def test_pytorch_has_known_findings_only(shardcts, tmp_path):
    ended, summary = fuzz(shardcts, tmp_path / "out", "reference", "--against", "torch")
    assert ended.code == 0, ended
    assert sum(summary["known_deviations"].values()) > 0


@pytest.mark.parametrize("mutant", ["load_reverses_rows"])
def test_seeded_bugs_show(shardcts, tmp_path, mutant):
    ended, summary = fuzz(shardcts, tmp_path / "out", f"reference+mutant={mutant}")
    assert ended.code == 1, ended
    first = summary["findings"][0]
    assert first["corpus"] and first["rule"] == "LO10"
    assert read_json(tmp_path / "out" / first["file"])["fuzz"]["actions"]


def test_what_wrapped_and_unwrapped_models_do_alike_shows(shardcts, tmp_path):
    """No extra state is loaded, by either: what the script gives tells."""
    bug = f"{BUILD / 'libshardcts_reference_mutants.so'},source_mutant=extra_state_not_restored"
    ended, summary = fuzz(shardcts, tmp_path / "out", bug)
    assert ended.code == 1, ended
    first = summary["findings"][0]
    assert (first["corpus"], first["difference"]) == ("found-extra-state-not-restored.json", "not as given")


def test_a_finding_is_a_program_of_a_corpus(shardcts, tmp_path):
    """Judged again from its file it shows the same."""
    bug = "reference+mutant=load_reverses_rows"
    fuzz(shardcts, tmp_path / "out", bug)
    ended = shardcts("fuzz", "--impl", bug, "--corpus", tmp_path / "out/findings", "--shrink-seconds", 0, "--out", tmp_path / "again")
    assert ended.code == 1, ended
    groups = [{(one["rule"], one["operation"], one["difference"]) for one in read_json(tmp_path / name / "fuzz.json")["findings"]}
              for name in ("out", "again")]  # fmt: skip
    assert groups[0] == groups[1]


def test_random_programs_may_follow(shardcts, tmp_path):
    ended, summary = fuzz(shardcts, tmp_path / "out", "reference", "--programs", 10)
    assert ended.code == 0, ended
    assert (summary["programs"], summary["next_program"]) == (len(SCRIPTS) + 10, 10)


def corrupt(change):
    script = json.loads(SCRIPTS[0].read_text(encoding="utf-8"))
    change(script)
    return json.dumps(script)


@pytest.mark.parametrize("content, message", [
    ("{", "Expecting property name"),
    (lambda: corrupt(lambda script: script.pop("fuzz")), "has no 'fuzz'"),
    (lambda: corrupt(lambda script: script.update(world_size=0)), "world_size: 0 is no number of ranks"),
    (lambda: corrupt(lambda script: script["fuzz"]["actions"].pop()), "do not list the results of all steps"),
    (lambda: corrupt(lambda script: script["steps"][0].update(op="model.fly")), "model.fly"),
    (lambda: corrupt(lambda script: script.update(contract=9999)), "contract"),
])  # fmt: skip
def test_a_corrupt_corpus_is_one_line(shardcts, tmp_path, content, message):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "a.json").write_text(content if isinstance(content, str) else content(), encoding="utf-8")
    ended = shardcts("fuzz", "--impl", "reference", "--corpus", corpus, "--out", tmp_path / "out")
    assert ended.code == 2, ended
    assert message in ended.err and "a.json" in ended.err
    assert len(ended.err.splitlines()) == 1


def test_no_corpus_is_one_line(shardcts, tmp_path):
    ended = shardcts("fuzz", "--impl", "reference", "--corpus", tmp_path / "none", "--out", tmp_path / "out")
    assert ended.code == 2 and "none: is no folder" in ended.err, ended
    assert not (tmp_path / "out").exists()
