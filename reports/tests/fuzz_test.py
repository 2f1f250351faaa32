"""The page of random programs: what it shows, and bad files turned away."""
import json

import pytest

from command_test import assert_one_line_error, run_module
from shardcts_reports.fuzz import is_fuzz_run, outcome, read_fuzz, render_fuzz
from shardcts_reports.load import InputError


def make_finding(number, **changes):
    return {"file": f"findings/{number:04d}.json", "oracle": "rule", "suspect": "reference", "rule": "LO10", "operation": "model.state_dict",
            "wrapper": "tp", "difference": "bits", "text": "rank 0: s9 and s15 differ at .weight", "step": "s1", "found": 2, "program": 15,
            "corpus": None, "steps": 2, "ranks": 2, "shrunk": True, "stable": "3 of 3 runs"} | changes


def make_document():
    return {"schema_version": 1, "command": ["--seed", "7"], "seed": 7, "generator": 3, "implementations": ["reference", "torch"],
            "worlds": [1, 2], "next_program": 60, "programs": 60, "operations": 1200, "legal": 50, "not_supported": 10, "seconds": 20.0,
            "findings": [make_finding(1), make_finding(2, found=5, rule=None, oracle="baseline", corpus="a.json", wrapper="")],
            "known_deviations": {"names have a prefix": 3, "gone by now": 0}, "refused_by_all": {"model.wrap: ValueError": 1},
            "coverage": [{"dimensions": ["form", "state"], "tried": 3, "possible": 4, "never": [["dsd", "fresh"]]}],
            "never_tried": {"operations": ["storage.save"], "options": ["model.wrap options.mp_policy"]}}


def write(folder, document, scripts=True):
    (folder / "findings").mkdir(parents=True)
    (folder / "fuzz.json").write_text(json.dumps(document), encoding="utf-8")
    for finding in document["findings"] if scripts else ():
        steps = [{"let": "m", "op": "model.build", "args": {"model": "tree"}}, {"let": "s1", "op": "model.state_dict", "args": {"model": "$m"}}]
        (folder / finding["file"]).write_text(json.dumps({"world_size": 2, "steps": steps}), encoding="utf-8")
    return folder


def test_the_page_shows_findings_rates_and_coverage(tmp_path):
    page = render_fuzz(write(tmp_path / "out", make_document()))
    for text in ("2 groups of findings.", "3.0 programs per second, for 20 s", "100% of 50", "20 in a program", "version 3",
                 "<b>LO10</b> <code>model.state_dict</code> under tp: bits", "<b>baseline</b> <code>model.state_dict</code> under no wrapper",
                 "first in program 15", "first in a.json", "shows in 3 of 3 runs", "<code>s1</code> ← here",
                 "shardcts exec findings/0001.json --impl reference", "<td>gone by now</td><td>never</td>",
                 "1 × model.wrap: ValueError", "form × state: 3 of 4", "<code>dsd × fresh</code>", "<code>storage.save</code>",
                 "Never given to <code>model.wrap</code>: <code>options.mp_policy</code>"):  # fmt: skip
        assert text in page, text
    assert page.index("id=\"0002\"") < page.index("id=\"0001\""), "what occurs often comes first"


def test_a_finding_with_phases_has_the_steps_of_all_and_their_ranks(tmp_path):
    folder = write(tmp_path / "out", make_document() | {"findings": [make_finding(1, later_ranks=[3], step="b")]})
    phases = [{"world": world, "steps": [{"let": let, "op": op, "args": {}}]} for world, let, op in
              ((2, "a", "storage.save"), (3, "b", "storage.load"))]  # fmt: skip
    (folder / "findings/0001.json").write_text(json.dumps({"phases": phases}), encoding="utf-8")
    page = render_fuzz(folder)
    assert "2 ranks, then 3, shrunk" in page and "<code>storage.save</code>" in page and "<code>b</code> ← here" in page


@pytest.mark.parametrize("script", [{"phases": 3}, {"phases": [{"steps": [1]}]}, {"phases": [{}]}, {"phases": [4]}, {}])
def test_a_script_without_steps_is_told(tmp_path, script):
    folder = write(tmp_path / "out", make_document())
    (folder / "findings/0001.json").write_text(json.dumps(script), encoding="utf-8")
    with pytest.raises(InputError, match="0001.json: has no steps"):
        render_fuzz(folder)


def test_a_run_without_findings_is_green_only_if_something_was_judged(tmp_path):
    document = make_document() | {"findings": []}
    assert outcome(document)[0].tone == "good"
    assert outcome(document | {"legal": 0, "not_supported": 60})[0].tone == "broken"
    assert outcome(make_document())[0].tone == "bad"
    assert "No findings beyond known deviations." in render_fuzz(write(tmp_path / "out", document))


def test_the_page_is_self_contained_and_escapes(tmp_path):
    document = make_document()
    document["findings"][0]["text"] = document["known_deviations"].setdefault("</script><img src=x>", 1) and "</script><img src=x>"
    page = render_fuzz(write(tmp_path / "out", document))
    assert "<img" not in page and page.count("</script>") == 2
    assert "http" not in page.partition("<body>")[2]


REJECTED = {
    "unknown field": (lambda d: d.update(more=1), "at the top: "),
    "a path that leaves the folder": (lambda d: d["findings"][0].update(file="findings/../../a.json"), "at findings[0].file"),
    "one file twice": (lambda d: d["findings"][0].update(file="findings/0002.json"), "two findings have one file"),
    "more legal than programs": (lambda d: d.update(legal=51), "60 programs, but 51 legal ones"),
    "pairs that do not add up": (lambda d: d["coverage"][0].update(tried=4), "coverage of form and state: 4 pairs tried and 1 never"),
    "unknown oracle": (lambda d: d["findings"][0].update(oracle="me"), "at findings[0].oracle"),
    "negative count": (lambda d: d.update(programs=-1), "at programs"),
}


@pytest.mark.parametrize("change, message", REJECTED.values(), ids=REJECTED)
def test_rejects(tmp_path, change, message):
    document = make_document()
    change(document)
    with pytest.raises(InputError) as caught:
        read_fuzz(write(tmp_path / "out", document, scripts=False))
    assert message in str(caught.value)


@pytest.mark.parametrize("script", ["", "{", "[]", '{"steps": 1}', '{"steps": [1]}'])
def test_rejects_a_broken_script(tmp_path, script):
    folder = write(tmp_path / "out", make_document())
    (folder / "findings/0001.json").write_text(script, encoding="utf-8")
    with pytest.raises(InputError, match="0001.json"):
        render_fuzz(folder)


def test_command(tmp_path):
    folder = write(tmp_path / "out", make_document())
    assert is_fuzz_run(folder)
    result = run_module("shardcts_reports", folder)
    assert (result.returncode, result.stdout.strip()) == (0, str(folder / "report" / "index.html"))
    assert "Random programs on reference" in (folder / "report/index.html").read_text(encoding="utf-8")
    (folder / "findings/0001.json").unlink()
    assert_one_line_error(run_module("shardcts_reports", folder), "0001.json: No such file")
