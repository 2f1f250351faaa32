"""An implementation that declares little is never said to have passed what it was not asked."""

import json

import pytest

from conftest import CACHED, SUITE, end_of, start_shardcts

MINIMAL = "python:minimal_adapter:MinimalAdapter"


def test_tests_beyond_the_declared_capabilities_are_not_supported(run_shardcts):
    ended, run = run_shardcts(MINIMAL, "--suite", SUITE.split("/")[0], "--world", "2")
    assert set(run.verdicts) == {"not_supported"}
    assert run.complete
    assert ended.code == 3, ended
    assert all(test["reason"] == "capability dtensor is not declared" for test in run.tests), ended
    assert run.document["implementations"][0]["capabilities"] == ["core"]


def test_not_supported_counts_apart_from_what_passed(run_shardcts):
    ended, run = run_shardcts("reference", "--impl", MINIMAL, "--filter", CACHED.format(2))
    assert run.verdicts == ["pass"] * 4 + ["not_supported"] * 4
    assert ended.code == 0, ended
    assert run.document["summary"][MINIMAL]["pass"] == 0


OFFLOADED = ("--filter", "*test_cpu_offload_full_state_dict*optimizer=adam")
REFUSING = "python:refusing:Refusing"


def the_test(run):
    (test,) = run.tests
    return test


def test_an_option_that_is_not_supported_is_said_and_counted_apart(run_shardcts):
    ended, run = run_shardcts(REFUSING, "--impl", "reference", *OFFLOADED)
    refused, passed = run.tests
    assert (refused["verdict"], passed["verdict"], ended.code) == ("not_supported", "pass", 0), ended
    assert refused["reason"] == ("dsd.get_state_dict: an option is not supported: options.cpu_offload: nothing can be "
                                 "offloaded")
    assert run_shardcts(REFUSING, *OFFLOADED)[0].code == 3, "nothing passed"


def test_a_run_that_requires_the_capability_does_not_take_it(run_shardcts):
    ended, run = run_shardcts(REFUSING, *OFFLOADED, "--require", "dsd")
    assert (the_test(run)["verdict"], ended.code) == ("fail", 1), ended
    assert "; the run requires capability dsd" in the_test(run)["reason"]


def test_one_rank_alone_cannot_refuse_where_its_peers_go_on(run_shardcts):
    _, run = run_shardcts(f"{REFUSING},on=rank1", *OFFLOADED)
    assert the_test(run)["verdict"] != "pass"


def test_a_refusal_that_names_nothing_is_a_failure(run_shardcts):
    ended, run = run_shardcts(f"{REFUSING},refuses=options.offload", *OFFLOADED)
    assert (the_test(run)["verdict"], ended.code) == ("fail", 1), ended
    assert ("NotSupported must name an option of dsd.get_state_dict first (submodules, "
            "options, distributed), or a field of one; it says: options.offload") in the_test(run)["reason"]


def test_what_a_declared_capability_promises_cannot_be_refused(run_shardcts):
    ended, run = run_shardcts(f"{REFUSING},refuses=fsdp", *OFFLOADED)
    assert (the_test(run)["verdict"], ended.code) == ("fail", 1), ended
    assert "capability fsdp1 is declared, but NotSupported: wrapper: no fsdp" in the_test(run)["reason"]


def capabilities(implementation, folder):
    """How it ended, and by capability: tests, answered, what is said."""
    ended = end_of(start_shardcts("capabilities", "--impl", implementation, "--out", "out", cwd=folder), 120)
    rows = [line.split(maxsplit=3) for line in ended.out.splitlines()[1:-1]]
    return ended, {row[0]: (int(row[1]), int(row[2]), row[3]) for row in rows}


def test_the_reference_does_what_it_declares(tmp_path):
    ended, rows = capabilities("reference", tmp_path)
    assert ended.code == 0, ended
    assert {says.split(":")[0] for _, _, says in rows.values()} <= {"works", "not declared"}, ended
    assert rows["fsdp2"][0] == rows["fsdp2"][1] > 500, "all of its tests are answered"


def test_what_is_tried_has_no_known_deviation_where_it_can_be_had(tmp_path):
    ended, rows = capabilities("reference", tmp_path)
    everything = json.loads(end_of(start_shardcts("list", "--json", cwd=tmp_path), 60).out)
    tests = {test["id"]: test for test in everything}
    tried = {name: says.removeprefix("works: ") for name, (_, _, says) in rows.items() if says.startswith("works: ")}
    waived = {name for name, test in tried.items() if tests[test]["waivers"]}
    for name in waived:
        assert all(test["waivers"] for test in everything
                   if name in test["capabilities"] and not test["not_applicable"] and not is_advice(test)), name
    assert len(waived) < len(tried) / 10, waived


def is_advice(test):
    return (test.get("rule") or {}).get("level") == "SHOULD"


def test_what_is_not_declared_is_not_tried(tmp_path):
    ended, rows = capabilities(MINIMAL, tmp_path)
    core = [rows.pop(name) for name in list(rows) if name.split(".")[0] == "core"]
    assert len(core) >= 3 and all(says.startswith("DOES NOT WORK: ") for _, _, says in core), "it has one operation"
    assert ended.code == 1, ended
    assert all(answered == 0 and says == "not declared" for _, answered, says in rows.values()), ended


PARTS = "python:parts:Parts,declares={}"


def test_parts_are_excluded_or_declared_alone(run_shardcts):
    """Three tests of one function: whole, sharded and local state dicts."""
    tests = ("--filter", "*test_state_dict_with_shared_parameters*")
    verdicts = {
        "fsdp1": ["pass", "pass", "pass"],
        "fsdp1+-fsdp1.local": ["not_supported", "pass", "pass"],
        "fsdp1.full+fsdp1.summon+fsdp1.auto_wrap": ["not_supported", "not_supported", "pass"],
        "fsdp1.full+fsdp1.summon": ["not_supported"] * 3,
    }
    for number, (declared, expected) in enumerate(verdicts.items()):
        ended, run = run_shardcts(PARTS.format(declared), *tests, out=f"out{number}")
        assert run.verdicts == expected, ended
    assert "capability fsdp1.auto_wrap is not declared" in [test["reason"] for test in run.tests]


@pytest.mark.parametrize("declared, named", [
    ("fsdp1.ful", 'unknown capability "fsdp1.ful"; the nearest known one is "fsdp1.full"'),
    ("fsdp1+-fsdp1", "capability fsdp1 is declared and excluded"),
    ("-fsdp1.full", "capability fsdp1.full is excluded, but is no part of anything that is declared"),
])
def test_declarations_that_contradict_themselves_are_one_line(shardcts, declared, named):
    ended = shardcts("run", "--impl", PARTS.format(declared), *OFFLOADED, "--out", "out")
    assert ended.code == 2 and ended.err.strip().endswith(named) and ended.err.count("\n") == 1, ended


def test_what_is_declared_and_does_not_work_is_named(tmp_path):
    ended, rows = capabilities(f"{REFUSING},refuses=fully_shard", tmp_path)
    assert ended.code == 1, ended
    assert rows["fsdp2"][2].startswith("DOES NOT WORK: fail "), ended
    assert "capability fsdp2 is declared, but NotSupported: wrapper: no fully_shard" in rows["fsdp2"][2]
    assert rows["fsdp1"][2].startswith("works: "), ended


def test_whole_state_dicts_need_no_sharded_tensors(run_shardcts):
    """An implementation that fails wherever a ShardedTensor shows passes all that it is asked."""
    ended, run = run_shardcts("python:whole_only:WholeOnly", "--suite", "fsdp_state_dict", "--world", "2", "--filter",
                              "*test_state_dict_*", timeout=400)
    assert ended.code == 0 and run.verdicts.count("pass") >= 20, ended
    assert "not_supported" in run.verdicts, "sharded and local ones"
