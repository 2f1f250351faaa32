"""conformance/: a list never changes, and says what its summary says."""
import hashlib
import json
import tomllib

import pytest

from shardcts_reports import freeze
from shardcts_reports.load import InputError
from shardcts_verify import profiles

VERSIONS = tomllib.loads((freeze.CONFORMANCE / "versions.toml").read_text())["version"]
LISTS = [(version["name"], name) for version in VERSIONS for name in version["lists"]]


@pytest.mark.parametrize("version, name", LISTS)
def test_a_list_never_changes(version, name):
    """Make a new version instead: docs/certification.md."""
    listed = next(each for each in VERSIONS if each["name"] == version)["lists"][name]
    data = (freeze.CONFORMANCE / version / f"{name}.json").read_bytes()
    summary = tomllib.loads((freeze.CONFORMANCE / version / f"{name}.toml").read_text())
    assert listed == summary["sha256"] == hashlib.sha256(data).hexdigest()
    document = json.loads(data)
    assert summary["inventory"] == document["inventory"] == hashlib.sha256(
        json.dumps([document["groups"], document["tests"]], sort_keys=True).encode()).hexdigest()


def test_every_file_of_a_version_is_listed():
    for version in VERSIONS:
        files = {file.stem for file in (freeze.CONFORMANCE / version["name"]).iterdir()}
        assert files == set(version["lists"])


@pytest.mark.parametrize("version, name", LISTS)
def test_a_verifier_can_read_it(version, name):
    counts = []
    for level in ("core", "full"):
        profile = profiles.read_profile(name, version, level, "cpu")
        counts.append(len(profile.tests))
        assert len(profile.canaries) >= profiles.CANARIES, "too few mutants to draw from"
        for canary in profile.canaries:
            assert set(canary.checks) <= {check.id for check in profile.tests[canary.test].checks}
    assert 0 < counts[0] <= counts[1]
    assert profiles.read_profile(name, version, "full", "accelerator").limited == frozenset()


def test_of(suite="alpha", world=2, level=None, **fields):
    return {"id": f"{suite}/{fields.get('function', 'test_x')}/world_size={world}", "suite": suite, "function": "test_x",
            "rule": {"id": "GE1", "level": level, "profile": "core"} if level else None, "world_size": world, "phases": [],
            "capabilities": ["core"], "not_applicable": None,
            "checks": [{"id": "C1", "ranks": "all", "required": True}, {"id": "C2", "ranks": [1], "required": False}]} | fields


test_of.__test__ = False


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "versions.toml").write_text("")
    (tmp_path / "profiles.toml").write_text('[levels]\ncore = 4\nfull = 8\n[[profile]]\nname = "a"\ntitle = "A"\n'
                                            'suites = ["alpha"]\nlimited_on_cpu = []\n')
    return tmp_path


KILLS = {"mutants": [{"name": "m", "verdict": "killed", "expected_checks": ["test_x C1"],
                      "killed_by": [{"test": "alpha/test_x/world_size=2", "check": "C1"}]}]}


def test_a_version_is_made_once(folder):
    inventory = [test_of(), test_of(world=8), test_of(world=16), test_of("beta")]
    freeze.write_version("1.0", folder, inventory, KILLS)
    frozen = json.loads((folder / "1.0/a.json").read_text())
    assert [row[:2] for row in frozen["tests"]] == [["alpha/test_x/world_size=2", 2], ["alpha/test_x/world_size=8", 8]]
    assert frozen["groups"][0]["checks"] == [["C1", "all"]]
    assert frozen["canaries"] == [["m", "alpha/test_x/world_size=2", ["C1"]]]
    with pytest.raises(InputError, match="a list never changes"):
        freeze.write_version("1.0", folder, inventory, KILLS)
    freeze.write_version("1.1", folder, inventory, KILLS)
    assert freeze.newest(folder).name == "1.1"


def test_a_build_that_differs_is_noticed(folder):
    freeze.write_version("1.0", folder, [test_of(), test_of(world=4)], KILLS)
    assert freeze.differences(folder / "1.0", [test_of(world=4), test_of(), test_of(function="test_new")]) == []
    assert freeze.differences(folder / "1.0", [test_of()]) == ["a.json: alpha/test_x/world_size=4: this build has no such test"]
    weaker = test_of(checks=[])
    assert "frozen [2, {" in freeze.differences(folder / "1.0", [weaker, test_of(world=4)])[0]
