"""`shardcts mutants`: a seeded bug is noticed, or the table says that it was not."""

from conftest import SAVE_LOAD, SUITE, read_json

from shardcts_reports.load import validate

UNNOTICED = "foreign_chunk_accepted"  # equivalent, so it stays so
CACHED = f"{SUITE}.test_cached_state_dict/world_size=2,mlp_dim=3,mutate_after_state_dict=false"


def kill_table(folder):
    table = read_json(folder / "mutants.json")
    validate(table, "mutants.schema.json", folder / "mutants.json")
    return {mutant["name"]: mutant for mutant in table["mutants"]}


def test_two_mutants_are_killed_by_the_checks_that_one_expects(shardcts, tmp_path):
    ended = shardcts("mutants", "--impl", "reference", "--filter", SAVE_LOAD, "--mutant", "state_dict_reversed",
                     "--mutant", "load_reverses_rows", "--out", "out")
    assert ended.code == 0, ended
    assert "2 of 2 mutants killed" in ended.out
    table = kill_table(tmp_path / "out")
    assert list(table) == ["state_dict_reversed", "load_reverses_rows"]
    assert {mutant["verdict"] for mutant in table.values()} == {"killed"}
    assert {"test": SAVE_LOAD, "check": "C12"} in table["load_reverses_rows"]["killed_by"]


def test_mutant_that_no_selected_test_can_see_survives(shardcts, tmp_path):
    ended = shardcts("mutants", "--impl", "reference", "--filter", CACHED, "--mutant", "load_reverses_rows",
                     "--out", "out")
    assert ended.code == 1, ended
    assert "no test noticed it" in ended.out
    mutant = kill_table(tmp_path / "out")["load_reverses_rows"]
    assert (mutant["verdict"], mutant["killed_by"]) == ("survived", [])


def test_mutants_of_sources_are_in_the_same_table(shardcts, tmp_path):
    ended = shardcts("mutants", "--impl", "reference", "--filter", SAVE_LOAD, "--mutant", "shape_from_local_part",
                     "--mutant", "state_dict_reversed", "--out", "out")
    assert ended.code == 0, ended
    table = kill_table(tmp_path / "out")
    assert {name: mutant["verdict"] for name, mutant in table.items()} == {
        "shape_from_local_part": "killed", "state_dict_reversed": "killed"}


def test_the_copy_is_the_reference_until_a_mutant_is_on(shardcts, tmp_path):
    for name, verdict in (("reference-mutant", "pass"), ("reference-mutant+mutant=shape_from_local_part", "fail")):
        ended = shardcts("run", "--impl", name, "--filter", SAVE_LOAD, "--out", verdict)
        assert ended.code == (verdict == "fail"), ended
        (test,) = read_json(tmp_path / verdict / "results.json")["tests"]
        assert (test["implementation"], test["verdict"]) == (name, verdict)


def test_a_mutant_that_is_known_to_be_unnoticed_survives_without_a_failure(shardcts, tmp_path):
    ended = shardcts("mutants", "--impl", "reference", "--filter", SAVE_LOAD, "--mutant", UNNOTICED, "--out", "out")
    assert ended.code == 0, ended
    assert "as is known: " in ended.out
    assert kill_table(tmp_path / "out")[UNNOTICED]["verdict"] == "survived"


def test_unknown_mutants_of_sources_are_told_the_nearest(shardcts):
    ended = shardcts("run", "--impl", "reference-mutant+mutant=balanced_chunk", "--filter", SAVE_LOAD, "--out", "out")
    assert ended.code == 2, ended
    assert 'unknown mutant "balanced_chunk"; the nearest known one is "balanced_chunks"' in ended.err
