"""The mutation score: what is drawn, what is left out, and that a survivor is called one."""

import json
import pathlib
import stat
import sys
from types import SimpleNamespace

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "schemata")]

import build_mutants  # noqa: E402
import measure  # noqa: E402
import mutation_score  # noqa: E402
import random_mutants  # noqa: E402
import schemata  # noqa: E402

SOURCE = '''\
namespace n {
// if (a == b) is a comment
int Pick(const std::vector<int>& values, int limit) {
  if (values.empty() || limit < 0) throw Error("at + least " + std::to_string(limit));
  int sum = 0;
  for (int value : values) {
    if (value > limit) continue;
    sum += value * 2;
  }
  Report(sum);
  return std::min(sum, values.front() + limit);
}
}  // namespace n
'''


def shown(kind):
    return [candidate.shown for candidate in random_mutants.Source(SOURCE).candidates() if candidate.kind == kind]


@pytest.mark.parametrize(("kind", "expected"), [
    ("logical", ["values.empty() || limit < 0  →  values.empty() && limit < 0"]),
    ("relational", ["limit < 0  →  limit <= 0", "value > limit  →  value >= limit"]),
    ("arithmetic", ["value * 2  →  value / 2", "values.front() + limit  →  values.front() - limit"]),
    ("negated", ["if (values.empty() || limit < 0)  →  if (!(values.empty() || limit < 0))",
                 "if (value > limit)  →  if (!(value > limit))"]),
    ("dropped", ["continue;  →  (nothing)", "sum += value * 2;  →  (nothing)", "Report(sum);  →  (nothing)"]),
    ("extreme", ["std::min(sum, values.front() + limit)  →  std::max(sum, values.front() + limit)"]),
    ("end of a list", ["values.front()  →  values.back()"]),
    ("returned", ["return std::min(sum, values.front() + limit);  →  return {};"]),
])
def test_candidates_of_a_kind(kind, expected):
    found = shown(kind)
    assert [one for one in found if "throw" not in one] == expected


def test_every_candidate_replaces_what_it_says():
    for candidate in random_mutants.Source(SOURCE).candidates():
        mutant = random_mutants.as_mutant("m", "a.cc", SOURCE, candidate)
        (_, edit), = schemata.edits_of(mutant, 0, lambda file: SOURCE)
        assert SOURCE[edit.begin:edit.end] == mutant["change"][0]["original"]
        assert "SourceMutant(0)" in schemata.mutate(SOURCE, [edit])


def test_the_seed_decides_what_is_drawn(tmp_path):
    (tmp_path / "a.cc").write_text(SOURCE)
    (tmp_path / "a_test.cc").write_text(SOURCE)
    first, again, other = (random_mutants.draw(tmp_path, 6, seed, schemata.is_of_tests) for seed in (1, 1, 2))
    assert first == again != other
    assert len({mutant["models"] for mutant in first}) == 6
    assert {mutant["change"][0]["file"] for mutant in first} == {"a.cc"}
    assert first[0]["breaks"].startswith("a.cc:")


def test_the_compiler_says_which_mutant_is_left_out():
    lines = ["int f() {", "(::shardcts::SourceMutant(7) ? (1) :", " (2))", "", "}"]
    output = ("/b/shardcts_reference_drawn/dsd/a.cc:3:5: error: no such thing\n"
              "/b/shardcts_reference_drawn/dsd/a.cc:1:1: warning: not this\n/b/elsewhere/a.cc:2:1: error: nor this\n")
    assert build_mutants.refused_mutants(output, {"dsd/a.cc": lines}.get) == {7: "no such thing"}


def test_small_worlds_and_other_instances_come_first():
    tests = ["s/C.h/world_size=1", "s/C.f_a/world_size=2,x=1", "s/C.g/world_size=4", "s/C.f_a/world_size=4,x=1",
             "s/C.f_a/world_size=2,x=2"]
    assert measure.in_order(tests[::-1], dict.fromkeys(tests, 0.1)) == tests


PROGRAM = '''\
#!{python}
"""A `shardcts mutants` whose mutants are killed by the test t7, if they run on it."""
import json, pathlib, sys
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
out.mkdir()
rows = json.loads((pathlib.Path(__file__).parent / "libshardcts_reference_mutants.json").read_text())["mutants"]
table = [{{"name": row["name"], "verdict": "killed" if "t7" in row["tests"] else "survived",
          "killed_by": [{{"test": "t7", "check": "C1"}}] if "t7" in row["tests"] else []}} for row in rows if row["tests"]]
(out / "mutants.json").write_text(json.dumps({{"mutants": table}}))
'''


def test_a_survivor_is_called_a_survivor(tmp_path):
    program = tmp_path / "shardcts"
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    mutants = [{"name": name, "models": "constant", "breaks": f"a.cc:{line}: 0 → 1"}
               for line, name in enumerate(("noticed", "unnoticed", "unreached", "broken"))]
    mutants[3]["left_out"] = "no such thing"
    reach = {0: {f"t{k}" for k in range(9)}, 1: {"t1", "t2"}, 3: {"t7"}}
    options = SimpleNamespace(tests=None, selection=[], jobs=1, timeout=1)
    said = []
    rows = measure.find_kills(program, mutants, reach, {f"t{k}": k for k in range(9)}, options, tmp_path, said.append)
    judged = mutation_score.fates(mutants, reach, rows)
    assert [one["fate"] for one in judged] == ["killed", "survived", "not reached", "does not compile"]
    assert said == ["round 1: 2 mutants, 6 tests", "round 2: 1 mutants, 5 tests"]
    table = mutation_score.markdown(judged, 5, [])
    assert "1 of 3 mutants killed (33 %)" in table
    survivors = table.split("## Survived")[1].split("##")[0]
    assert "`a.cc:1: 0 → 1` | 2 |" in survivors
    assert "noticed | constant" in survivors and "a.cc:0" not in survivors
