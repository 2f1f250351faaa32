"""The kill table: renderings against a baseline, bad files turned away."""
import json

import pytest

from command_test import assert_one_line_error, run_module
from shardcts_reports.load import InputError
from shardcts_reports.mutants import read_mutants, render_html, render_markdown, tally

SUITE = "fully_shard_state_dict/TestFullyShardStateDictMultiProcess"


def make_mutants() -> dict:
    def mutant(name, description, checks, killed_by, verdict="killed", hit=True):
        return {"name": name, "description": description, "models": "pt#115310", "expected_checks": checks,
                "killed_by": [{"test": f"{SUITE}.{test}", "check": check} for test, check in killed_by],
                "verdict": verdict, "expected_check_hit": hit}
    save_load = [f"test_dp_state_dict_save_load/world_size=4,mesh=1-D,mlp_dim={dim}" for dim in (2, 3, 5)]
    return {"implementation": "reference", "mutants": [
        mutant("keep_padding", "tensor.full keeps the padding rows of uneven shards", ["C9", "C12"],
               [(test, "C9") for test in save_load] + [(save_load[0], "C4"), (save_load[1], None)]),
        mutant("balanced_split", "n/w + (r < n%w) rows instead of ceil-chunks", ["C3"], [(save_load[0], "C8")],
               hit=False),
        mutant("stale_cache", "state_dict returns the dict of the first call", ["C5"], [], "survived", False),
        mutant("never_called", "a bug in an operation | that no test uses", [], [], "incompetent", False)]}


def write(tmp_path, document):
    (tmp_path / "mutants.json").write_text(json.dumps(document))
    return tmp_path / "mutants.json"


def test_markdown_baseline(tmp_path, approve):
    approve("mutants.md", render_markdown(read_mutants(write(tmp_path, make_mutants()))))


def test_the_page_is_self_contained_and_escapes(tmp_path):
    document = make_mutants()
    document["mutants"][0]["name"] = document["mutants"][0]["killed_by"][0]["test"] = "</script><img src=x>"
    page = render_html(read_mutants(write(tmp_path, document)))
    assert "<img" not in page and page.count("</script>") == 3
    assert "1 of 4" not in page and "2 of 4 mutants killed, 1 by a check" in page


def test_only_expected_kills_are_green():
    document = make_mutants()
    assert tally(document)[0] == "bad"
    del document["mutants"][2:]
    assert tally(document)[0] == "warn"
    del document["mutants"][1]
    assert tally(document)[0] == "good"
    del document["mutants"][0]
    assert tally(document)[0] == "bad"


def test_a_survivor_that_is_known_is_no_news_but_no_success_either():
    document = make_mutants()
    del document["mutants"][3], document["mutants"][1]
    document["mutants"][1].update(expected_checks=[], unnoticed="no rule asks for it")
    assert tally(document) == ("warn", "1 of 2 mutants killed, 1 by a check that was expected to notice. "
                                       "That no test notices 1 of them is known.")
    assert "no test, as is known: no rule asks for it" in render_markdown(document)


REJECTED = {
    "expected and unnoticed": (lambda m: m[0].update(unnoticed="x"), "said to be unnoticed, but there are checks"),
    "name twice": (lambda m: m[1].update(name="keep_padding"), "the name stands twice"),
    "killed by nothing": (lambda m: m[0].update(killed_by=[]), "killed, but killed_by has 0 entries"),
    "survived a kill": (lambda m: m[0].update(verdict="survived"), "survived, but killed_by has 5 entries"),
    "hit without a kill": (lambda m: m[2].update(expected_check_hit=True), "expected_check_hit, but survived"),
    "unknown verdict": (lambda m: m[0].update(verdict="dead"), "at mutants[0].verdict"),
    "unknown field": (lambda m: m[0].update(more=1), "at mutants[0]: "),
}


@pytest.mark.parametrize("change, message", REJECTED.values(), ids=REJECTED)
def test_rejects(tmp_path, change, message):
    document = make_mutants()
    change(document["mutants"])
    with pytest.raises(InputError) as caught:
        read_mutants(write(tmp_path, document))
    assert message in str(caught.value)


def test_command(tmp_path):
    path = write(tmp_path, make_mutants())
    result = run_module("shardcts_reports.mutants", path)
    assert (result.returncode, result.stdout.strip()) == (0, str(tmp_path / "mutants.html"))
    assert (tmp_path / "mutants.md").exists()
    path.write_text(path.read_text()[:-10])
    assert_one_line_error(run_module("shardcts_reports.mutants", path), "mutants.json: line 1", "truncated or corrupt")
