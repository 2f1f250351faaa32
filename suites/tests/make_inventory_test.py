"""make_inventory.py: what it takes from a source, what from the rules, and that the inventories here are its output."""

import copy
import importlib.util
import json
import pathlib

import pytest

SUITES = pathlib.Path(__file__).resolve().parent.parent
NAMES = sorted(path.parent.name for path in SUITES.glob("*/upstream.json"))

_spec = importlib.util.spec_from_file_location("make_inventory", SUITES / "make_inventory.py")
make_inventory = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_inventory)

SOURCE = {
    "source": {"repo": "r", "path": "p", "commit": "c", "note": "not taken"},
    "tests": [{
        "function": "test_x",
        "instances": ["T.test_x_a", "T.test_x_b"],
        "instance_details": {
            "T.test_x_a": {"parameters": {"offload": "Offload(True)", "kind": "a"}, "returns_early": False},
            "T.test_x_b": {"parameters": {"offload": "Offload(True)", "kind": "b"}, "returns_early": True},
        },
        "parameters": {"kind": ["a", "b"], "offload": ["Offload(True)"]},
        "features": ["hooks", "wrapping", "groups", "subgroups"],
        "world_sizes": [2],
        "checks": [
            {"id": "C1", "kind": "keys", "what": "keys", "ranks": "all", "active_for": {}},
            {"id": "C2", "kind": "value", "what": "values", "ranks": "nonzero", "active_for": {"kind": ["a"]}},
        ],
    }],
}
RULES = {
    "suite": "s",
    "capabilities": {"subgroups": "groups", "groups": "groups", "wrapping": "fsdp1"},
    "ranks": {"all": "all", "nonzero": "others"},
    "values": {"offload": {"Offload(True)": True}},
    "functions": {"test_x": {
        "capabilities": ["optimizer"],
        "subtests": [{"cpu": [True, False]}],
        "not_applicable": [{"when": {"kind": ["b"]}, "reason": "returns at once"}],
        "checks": {"C1": [{"active": {"cpu": [True]}}, {"ranks": [0], "strength": "weak", "active": {"cpu": [False]}}]},
    }},
}


def changed(document: dict, path: list, value) -> dict:
    document = copy.deepcopy(document)
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return document


def test_what_some_tests_of_a_function_need_is_not_needed_by_all():
    needs = [{"capabilities": ["groups"], "when": {"cpu": [True]}}, {"capabilities": ["fsdp1.full", "optimizer"]}]
    (function,) = make_inventory.inventory(SOURCE, changed(RULES, ["functions", "test_x", "needs"], needs))["tests"]
    assert function["capabilities"] == ["core", "fsdp1", "optimizer"]
    assert function["needs"] == needs


def test_source_and_rules_together():
    made = make_inventory.inventory(SOURCE, RULES)
    assert made["suite"] == "s" and made["source"] == {"repo": "r", "path": "p", "commit": "c"}
    (test,) = made["tests"]
    assert test["instances"] == [
        {"id": "T.test_x_a", "params": {"kind": "a", "offload": True}},
        {"id": "T.test_x_b", "params": {"kind": "b", "offload": True}, "not_applicable": "returns at once"}]
    assert test["capabilities"] == ["core", "groups", "fsdp1", "optimizer"]
    assert test["subtests"] == [{"cpu": [True, False]}] and test["world_sizes"] == [2]
    assert test["checks"] == [
        {"id": "C1", "what": "keys", "strength": "strict", "ranks": "all", "active": {"cpu": [True]}},
        {"id": "C1", "what": "keys", "strength": "weak", "ranks": [0], "active": {"cpu": [False]}},
        {"id": "C2", "what": "values", "strength": "strict", "ranks": "others", "active": {"kind": ["a"]}}]


def test_rules_for_all_checks_and_ranks_that_depend_on_parameters():
    source = changed(SOURCE, ["tests", 0, "checks"], [
        {"id": "C1", "what": "at least one", "when": "in part A", "ranks": "even"}])
    rules = changed(RULES, ["functions", "test_x", "checks"], {"C1": {"active": {"cpu": [True]}}})
    rules = {**rules, "when": {"in part A": {"part": ["a"]}}, "capabilities_of_all": ["fsdp1_optim"],
             "checks": [{"says": "at least", "strength": "weak", "strict_form": "as many"}],
             "ranks": {"even": [{"ranks": [0, 2], "active": {"world_size": [4]}},
                                {"ranks": [0], "active": {"world_size": [2]}}]}}
    (test,) = make_inventory.inventory(source, rules)["tests"]
    common = {"id": "C1", "what": "at least one", "strength": "weak", "strict_form": "as many"}
    active = {"part": ["a"], "cpu": [True]}
    assert test["capabilities"][:2] == ["core", "fsdp1_optim"]
    assert test["checks"] == [{**common, "ranks": [0, 2], "active": {"world_size": [4], **active}},
                              {**common, "ranks": [0], "active": {"world_size": [2], **active}}]


def test_parameters_without_further_details():
    source = changed(SOURCE, ["tests", 0, "instance_details"], {})
    source["tests"][0]["instance_parameters"] = {"T.test_x_a": {"kind": "a"}, "T.test_x_b": {"kind": "b"}}
    (test,) = make_inventory.inventory(source, RULES)["tests"]
    assert [instance["params"] for instance in test["instances"]] == [{"kind": "a"}, {"kind": "b"}]
    assert ["not_applicable" in instance for instance in test["instances"]] == [False, True]


def test_the_text_is_the_document():
    made = make_inventory.inventory(SOURCE, RULES)
    assert json.loads(make_inventory.text_of(made)) == made


@pytest.mark.parametrize("path, value, text", [
    (["unneeded"], [], "there are no rules named unneeded"),
    (["functions", "test_y"], {}, "no function of the source is named test_y"),
    (["functions", "test_x", "checks"], {"C7": {}}, "test_x has no check C7"),
    (["functions", "test_x", "not_applicable"], [], "T.test_x_b returns early upstream: True; reasons in the rules: []"),
    (["functions", "test_x", "not_applicable", 0, "when"], {}, "T.test_x_a returns early upstream: False"),
    (["ranks"], {"all": "all"}, "check C2: the rules do not say what ranks 'nonzero' is"),
])
def test_rules_that_do_not_fit_are_an_error(path, value, text):
    with pytest.raises(make_inventory.RulesError, match=text.replace("[]", r"\[\]")):
        make_inventory.inventory(SOURCE, changed(RULES, path, value))


def test_the_command_writes_and_checks(tmp_path, capsys):
    source, rules = tmp_path / "source.json", tmp_path / "inventory_rules.json"
    source.write_text(json.dumps(SOURCE))
    rules.write_text(json.dumps(RULES))
    arguments = [str(tmp_path)]
    assert make_inventory.main([*arguments, "--check"]) == 1
    assert make_inventory.main(arguments) == 0
    assert make_inventory.main([*arguments, "--check"]) == 0
    (tmp_path / "upstream.json").write_text("{}")
    assert make_inventory.main([*arguments, "--check"]) == 1
    rules.write_text("{")
    assert make_inventory.main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"make_inventory: {tmp_path}: ")
    source.unlink()
    assert make_inventory.main(arguments) == 2
    assert "source.json" in capsys.readouterr().err


@pytest.mark.parametrize("suite", NAMES)
def test_the_inventories_here_are_made_of_their_sources_byte_for_byte(suite, tmp_path):
    assert len(NAMES) >= 4
    for name in ("source.json", "inventory_rules.json"):
        (tmp_path / name).write_bytes((SUITES / suite / name).read_bytes())
    assert make_inventory.main([str(tmp_path)]) == 0
    assert (tmp_path / "upstream.json").read_bytes() == (SUITES / suite / "upstream.json").read_bytes()


def active_checks(test: dict, instance: dict, world_size: int, subtest: dict) -> list[dict]:
    values = {**instance["params"], **subtest, "world_size": world_size}

    def fits(lists: dict) -> bool:
        return all(values.get(key) in allowed for key, allowed in lists.items())

    return [check for check in test["checks"]
            if fits(check.get("active", {})) and not ("inactive" in check and fits(check["inactive"]))]


def test_fsdp_state_dict_has_the_checks_that_upstream_ran_on_each_rank():
    source = json.loads((SUITES / "fsdp_state_dict/source.json").read_text())
    made = json.loads((SUITES / "fsdp_state_dict/upstream.json").read_text())
    pairs = early = 0
    for described, test in zip(source["tests"], made["tests"], strict=True):
        for instance in test["instances"]:
            details = described["instance_details"][instance["id"]]
            early += "not_applicable" in instance
            assert details["returns_early"] == ("not_applicable" in instance), instance["id"]
            if details["returns_early"]:
                continue
            (world_size,) = test["world_sizes"]
            grids = [{key: values[0] for key, values in grid.items()} for grid in test["subtests"]] or [{}]
            active = {check["id"]: check for check in active_checks(test, instance, world_size, grids[0])}
            assert sorted(active) == sorted(details["checks"]), instance["id"]
            pairs += len(active)
            for check, runs in details["assertion_runs_per_rank"].items():
                ranks = active[check]["ranks"]
                by_name = {"all": range(world_size), "rank0": [0], "others": range(1, world_size)}
                expected = list(ranks if isinstance(ranks, list) else by_name[ranks])
                assert [rank for rank, count in enumerate(runs) if count] == expected, (instance["id"], check)
    assert (pairs, early) == (1151, 47)
    assert sum(len(test["instances"]) for test in made["tests"]) == 179
    assert sum(len({check["id"] for check in test["checks"]}) for test in made["tests"]) == 146
