"""schemata.py: what it makes of mutants, and what it says of those that it cannot make."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import pytest

FOLDER = pathlib.Path(__file__).resolve().parent
_spec = importlib.util.spec_from_file_location("schemata", FOLDER / "schemata.py")
schemata = importlib.util.module_from_spec(_spec)
sys.modules["schemata"] = schemata
_spec.loader.exec_module(schemata)

SOURCE = """\
int Area(int width, int height) {
  if (width < 0) return -1;
  return width * height * 1;
}
"""
# The switch as a program would have it that is told the number on its command line.
PROGRAM = """\
#include <cstdlib>
#include <cstdio>
static int on = -1;
namespace shardcts { bool SourceMutant(int number) { return number == on; } }
#include "area.cc"
int main(int, char** arguments) {
  on = std::atoi(arguments[1]);
  std::printf("%d %d", Area(3, 4), Area(-3, 4));
}
"""


def mutant(name, *changes):
    return {"name": name, "breaks": name, "change": [{"file": "area.cc", "original": old, "replacement": new}
                                                     for old, new in changes]}


def outputs(tmp_path, mutants):
    """What the program prints with each mutant, and last with none."""
    edits = [edit for number, one in enumerate(mutants) for _, edit in schemata.edits_of(one, number, lambda file: SOURCE)]
    (tmp_path / "area.cc").write_text(schemata.mutate(SOURCE, edits))
    (tmp_path / "main.cc").write_text(PROGRAM)
    subprocess.run(["g++", "-std=c++20", "-o", tmp_path / "main", tmp_path / "main.cc"], check=True)
    return [subprocess.run([tmp_path / "main", str(number)], check=True, capture_output=True, text=True).stdout
            for number in [*range(len(mutants)), -1]]


def test_each_mutant_changes_what_it_says_and_none_changes_nothing(tmp_path):
    assert outputs(tmp_path, [
        mutant("sum", ("width * height", "width + height")),
        mutant("no_check", ("if (width < 0) return -1;", "")),
        mutant("both", ("width < 0", "height < 5"), ("-1", "-2")),
    ]) == ["7 -1", "12 -12", "-2 -2", "12 -1"]


def test_mutants_share_a_place(tmp_path):
    same = mutant("less", ("width * height", "width - height")), mutant("more", ("width * height", "width + height"))
    outside = mutant("none", ("return width * height * 1;", "return 0;"))
    overlapping = mutant("tripled", ("height * 1", "height * 3"))
    assert outputs(tmp_path, [*same, outside, overlapping]) == ["-1 -1", "7 -1", "0 -1", "36 -1", "12 -1"]


def make(tmp_path, **texts):
    sources, mutants = tmp_path / "sources", tmp_path / "mutants"
    for folder in (sources, mutants):
        folder.mkdir(exist_ok=True)
    (sources / "area.cc").write_text(SOURCE)
    (sources / "area_test.cc").write_text("not copied")
    for name, text in texts.items():
        (mutants / f"{name}.toml").write_text(text)
    return subprocess.run([sys.executable, "-B", FOLDER / "schemata.py", "--sources", sources, "--mutants", mutants,
                           "--out", tmp_path / "copy", "--table", tmp_path / "table.json"], capture_output=True, text=True)


CHANGE = '[[change]]\nfile = "area.cc"\noriginal = "{}"\nreplacement = "0"\n'


def test_the_copy_and_its_table(tmp_path):
    ended = make(tmp_path, zero='breaks = "no area"\nmin_world_size = 2\n' + CHANGE.format("width * height"))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "SourceMutant(0)" in (tmp_path / "copy/area.cc").read_text()
    assert not (tmp_path / "copy/area_test.cc").exists()
    assert json.loads((tmp_path / "table.json").read_text())["mutants"] == [
        {"name": "zero", "description": "no area", "models": "", "suites": [], "expected_checks": [], "tests": [],
         "min_world_size": 2, "unnoticed": ""}]


@pytest.mark.parametrize(("text", "problem"), [
    (CHANGE.format("width - height"), "area.cc: the text that mutant x changes is there 0 times, not once: 'width - height'"),
    (CHANGE.format("return"), "area.cc: the text that mutant x changes is there 2 times, not once: 'return'"),
    (CHANGE.format("1").replace("area", "volume"), "volume.cc: there is no such file, which mutant x changes"),
    ("breaks = 1 2", "x.toml: "),
    ('breaks = "nothing"', "mutant x: changes nothing"),
    ("brakes = 1\n" + CHANGE.format("1"), "mutant x: unknown field 'brakes'"),
])
def test_what_does_not_fit_is_one_line_that_names_file_and_mutant(tmp_path, text, problem):
    ended = make(tmp_path, x=text)
    assert ended.returncode == 1
    assert problem in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_the_mutants_of_the_reference_fit_it():
    mutants = schemata.load_mutants(FOLDER.parent / "source")
    sources = FOLDER.parents[2] / "reference_impl"
    assert len(mutants) >= 40
    for number, one in enumerate(mutants):
        assert one["breaks"] and one["models"], one["name"]
        assert bool(one.get("unnoticed")) != bool(one.get("expected_checks")), f"{one['name']}: either a check or why there is none"
        list(schemata.edits_of(one, number, lambda file: (sources / file).read_text()))
