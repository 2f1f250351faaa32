"""An implementation that declares little is never said to have passed what it was not asked."""

from conftest import CACHED, SUITE

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
