"""A corpus keeps programs as scripts; a file that is none is told with its place."""

import json
from pathlib import Path

import pytest
from shardcts_fuzz.corpus import CorpusError, read_corpus, text
from shardcts_fuzz.sequence import Programs

OURS = Path(__file__).resolve().parents[1] / "corpus"


def written(folder, script):
    folder.mkdir(exist_ok=True)
    (folder / "a.json").write_text(script if isinstance(script, str) else json.dumps(script), encoding="utf-8")
    return folder


def example(phases=False):
    """A program, with a step whose arguments are others on the last rank or with phases."""
    made = Programs(5, [3])
    for number in range(400):
        program = made.make(number)
        if bool(program.later) if phases else not program.has_folder() and any(step.last_rank_args for step in program.steps()):
            return program
    raise AssertionError("no such program")


@pytest.mark.parametrize("phases", [False, True])
def test_what_is_written_is_read(tmp_path, phases):
    program = example(phases)
    (read,) = read_corpus(written(tmp_path / "corpus", text(program)))
    assert (read.world, read.later, read.actions, read.notes) == (program.world, program.later, program.actions, program.notes)
    assert text(read).partition("fuzz")[0] == text(program).partition("fuzz")[0]
    assert read.place() == str(tmp_path / "corpus/a.json")


def test_programs_descend_from_a_corpus():
    """Of the first programs some begin as one of the corpus does, which no program of the seed alone does."""
    program = example()
    beginning = tuple(program.notes["draws"][: program.notes["marks"][0]])

    def descendants(corpus):
        made = [Programs(seed, [3], corpus=corpus) for seed in range(9, 19)]
        return sum(tuple(one.make(number).notes["draws"][: len(beginning)]) == beginning for one in made for number in range(6))

    assert descendants([]) == 0
    assert descendants([program]) > 0


def broken(change, phases=False):
    script = json.loads(text(example(phases)))
    change(script)
    return script


@pytest.mark.parametrize("change, message", [
    (lambda s: s.pop("fuzz"), "has no 'fuzz'"),
    (lambda s: s["fuzz"].pop("actions"), "has no 'actions'"),
    (lambda s: s["fuzz"]["actions"].pop(), "fuzz.actions: do not list the results of all steps"),
    (lambda s: s.update(contract=2), "contract: 2 is not 1"),
    (lambda s: s.update(world_size=9), "world_size: 9 is no number of ranks from 1 to 8"),
    (lambda s: s.update(world_size=2), "args_by_rank has 3 entries, not 2"),
    (lambda s: s.update(steps=s["steps"][1:]), "'m'"),
    (lambda s: s["steps"][0].update(args=[]), "'[]' is no dict of arguments"),
    (lambda s: s["steps"][0].update(args={"model": "$later"}), "m: uses later, which no earlier step gives"),
    (lambda s: s["fuzz"]["actions"][0].update(relations=[{"kind": "same", "steps": ["m"]}]), "build: a relation of an unknown kind"),
    (lambda s: s["fuzz"]["actions"][0].update(tags=[1]), "cannot unpack"),
    (lambda s: s["fuzz"]["drawn"].update(features=["wings"]), "fuzz.drawn: needs known features"),
    (lambda s: s["fuzz"]["drawn"].update(draws=[-1]), "of which none is negative"),
    (lambda s: s.update(steps={"a": 1}), "string indices"),
])  # fmt: skip
def test_a_broken_file_is_told(tmp_path, change, message):
    with pytest.raises(CorpusError) as told:
        read_corpus(written(tmp_path / "corpus", broken(change)))
    assert "a.json: " in str(told.value) and message in str(told.value)


@pytest.mark.parametrize("change, message", [
    (lambda s: s["phases"][1].update(world=0), "phases[1].world: 0 is no number of ranks from 1 to 8"),
    (lambda s: s.update(phases=[]), "phases: 0 of them, not 1 to 8"),
    (lambda s: s.update(phases=s["phases"] * 5), "phases: 10 of them"),
    (lambda s: s["fuzz"]["actions"][-1]["steps"].insert(0, "m"), "has steps of 2 phases"),
    (lambda s: [step["args"].update(path="elsewhere") for step in s["phases"][1]["steps"] if step["op"] == "storage.load"],
     "uses folder elsewhere, which no earlier step gives"),
])  # fmt: skip
def test_broken_phases_are_told(tmp_path, change, message):
    with pytest.raises(CorpusError) as told:
        read_corpus(written(tmp_path / "corpus", broken(change, phases=True)))
    assert "a.json: " in str(told.value) and message in str(told.value)


@pytest.mark.parametrize("content", ["", "[]", "{", "null", "\x00", "[" * 100000])
def test_a_file_that_is_no_script_is_told(tmp_path, content):
    with pytest.raises(CorpusError, match="a.json: "):
        read_corpus(written(tmp_path / "corpus", content))


def test_a_folder_without_scripts_is_told(tmp_path):
    with pytest.raises(CorpusError, match="has no scripts"):
        read_corpus(tmp_path)
    with pytest.raises(CorpusError, match="is no folder"):
        read_corpus(tmp_path / "none")


def test_ours_is_small():
    assert 10 <= len(read_corpus(OURS)) <= 40
    assert all(file.stat().st_size < 20_000 for file in OURS.iterdir())
