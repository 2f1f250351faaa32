"""Failures that somebody answers for, capabilities that a run requires, and tests that are run several times."""

import pytest

from conftest import CACHED, SUITE

MINIMAL = "python:minimal_adapter:MinimalAdapter"
RAISING = "python:faulty:RaisingBeforeCollective,rank=1"
WAIVER = """[[waiver]]
test = "{test}"
implementation = "python:faulty:*"
device = "cpu"
verdict = "fail"
reason_contains = "{text}"
owner = "system tests"
reason = "the fault is seeded"
evidence = "harness/system_tests/adapters/faulty.py"
expires = {expires}

"""


def cached(dim) -> str:
    return f"{SUITE}.test_cached_state_dict/world_size=2,mlp_dim={dim},mutate_after_state_dict=false"


@pytest.fixture
def waivers(tmp_path):
    """waivers((dim, text, expires)…): the file of these waivers."""

    def write(*rows) -> str:
        text = "".join(WAIVER.format(test=cached(dim), text=text, expires=expires) for dim, text, expires in rows)
        (tmp_path / "waivers.toml").write_text(text)
        return "waivers.toml"

    return write


def test_a_failure_that_is_waived_is_green_and_in_every_report(shardcts, run_shardcts, tmp_path, waivers):
    file = waivers((3, "seeded error of one rank", "2999-12-31"))
    ended, run = run_shardcts(RAISING, "--filter", CACHED.format(2), "--waivers", file)
    assert (run.verdicts, ended.code) == (["pass", "waived", "pass", "pass"], 0), ended
    waived = run.test("mlp_dim=3,")
    assert waived["waiver"]["found"] == "fail"
    assert f"waived {cached(3)} [{RAISING}]: the fault is seeded (waived by system tests until 2999-12-31" in ended.out
    assert shardcts("report", "out").code == 0
    for name in ("index.html", "summary.md", "junit.xml"):
        assert "the fault is seeded" in (tmp_path / "out/report" / name).read_text(), name


def test_waivers_that_do_not_hold_leave_the_run_red(run_shardcts, waivers):
    file = waivers((2, "anything", "2999-12-31"), (3, "seeded error", "2020-12-31"))
    ended, run = run_shardcts(RAISING, "--filter", CACHED.format(2), "--waivers", file)
    assert (run.verdicts, ended.code) == (["unexpected_pass", "fail", "pass", "pass"], 1), ended
    assert "not waived: waivers.toml:12 has expired on 2020-12-31" in run.test("mlp_dim=3,")["reason"]


def test_another_failure_than_the_waived_one_is_red(run_shardcts, waivers):
    file = waivers((3, "out of memory", "2999-12-31"))
    ended, run = run_shardcts(RAISING, "--filter", cached(3), "--waivers", file)
    assert (run.verdicts, ended.code) == (["fail"], 1), ended
    assert 'not waived: waivers.toml:1 says "out of memory"' in run.tests[0]["reason"]


def test_a_required_capability_that_is_not_declared_is_a_failure(run_shardcts):
    ended, run = run_shardcts("reference", "--impl", MINIMAL, "--filter", cached(2), "--require", "dtensor")
    assert (run.verdicts, ended.code) == (["pass", "fail"], 1), ended
    assert run.tests[1]["reason"] == "capability dtensor is not declared; the run requires capability dtensor"


def test_a_test_that_passes_only_sometimes_is_flaky_and_red(run_shardcts):
    ended, run = run_shardcts("python:faulty:Flaky,rank=1", "--filter", CACHED.format(2), "--repeat", "3")
    assert (run.verdicts, ended.code) == (["pass", "fail", "pass", "pass"], 1), ended
    assert [test["flaky"] for test in run.tests] == [False, True, False, False]
    flaky = run.test("mlp_dim=3,")
    assert [each["verdict"] for each in flaky["repetitions"]] == ["pass", "fail", "pass"]
    assert flaky["reason"].startswith("flaky: 2 pass, 1 fail of 3; repetition 2: rank 1: ")
    assert (run.folder / flaky["trace"]).exists()
    assert run.starts() == 1
    assert "1 of the tests are flaky" in ended.out
