"""What results.json may be and what is turned away: one row per rule."""
import json
import time

import pytest

import example_run
from shardcts_reports.load import MAX_MESSAGE, InputError
from shardcts_reports.model import read_report


def read(tmp_path, document):
    return read_report(example_run.write_run(tmp_path, document))


def test_a_run_with_every_verdict_is_accepted(tmp_path):
    report = read(tmp_path, example_run.make_run())
    assert report.labels == ["reference", "torch"]
    assert [len(group.rows) for group in report.groups] == [6, 7]


def test_reading_4000_results_takes_less_than_2_seconds(tmp_path):
    document = example_run.finish([example_run.make_test("reference", ("pass", "fail")[dim % 2], mlp_dim=dim)
                                   for dim in range(4000)])
    example_run.write_run(tmp_path, document)
    start = time.process_time()  # of this process: what else the machine does must not count
    assert len(read_report(tmp_path).tests) == 4000
    assert time.process_time() - start < 2


ACCEPTED = {
    "extra environment entries": lambda d: d["run"]["environment"].update(ucx="1.13"),
    "interrupted run": lambda d: d.update(complete=False),
    "failure without a place": lambda d: d["tests"][2]["failures"][0].update(
        file=None, line=None, check=None, operation=None),
    "rank without seconds": lambda d: d["tests"][0]["ranks"][0].update(seconds=None),
    "pool with problems": lambda d: d["pools"][0].update(problems=["rank 2 ended with signal 11"]),
    "repetitions": lambda d: d["tests"].__setitem__(0, example_run.make_flaky(d["tests"][0], "pass", "pass")),
    "a flaky failure": lambda d: d["tests"].__setitem__(2, example_run.make_flaky(d["tests"][2], "pass", "fail")),
    "repetition that was not run": lambda d: d["tests"].__setitem__(
        2, example_run.make_flaky(d["tests"][2], "fail", "not_run") | {"flaky": False}),
    "waiver that does not help": lambda d: d["tests"][2].update(
        waiver=waived(d)["waiver"] | {"problem": "has expired on 2025-12-31"}),
    "run that asks for more": lambda d: d["run"].update(repeat=3, require=["tp"], waivers=["w.toml"]),
    "no reason": lambda d: d["tests"][0].update(reason=None),
}


@pytest.mark.parametrize("change", ACCEPTED.values(), ids=ACCEPTED)
def test_accepts(tmp_path, change):
    document = example_run.make_run()
    change(document)
    read(tmp_path, document)


def waived(document) -> dict:
    return next(test for test in document["tests"] if test["verdict"] == "waived")


def rename_summary(document):
    document["summary"]["other"] = document["summary"].pop("torch")


def phased(document, world_size=4, **changes):
    """The first test, which passes, with one phase."""
    phase = example_run.make_phased_test("reference")["phases"][0] | {"world_size": world_size} | changes
    document["tests"][0].update(phases=[phase])


REJECTED = {
    "a phase larger than the test": (lambda d: phased(d, world_size=5), "world size 4, its largest phase has 5"),
    "a phase of nobody": (lambda d: phased(d, implementation="x"), "phase 1: unknown implementation 'x'"),
    "a rank beyond its phase": (lambda d: phased(d, ranks=[d["tests"][0]["ranks"][0] | {"rank": 4}]),
                                "phase 1: rank 4 in a world of 4"),
    "a pass whose phase failed": (lambda d: phased(d, verdict="fail"), "verdict pass, but phase 1 is fail"),
    "an unknown role": (lambda d: phased(d, role="keep"), "tests[0].phases[0].role"),
    "a test of an implementation that only loads": (lambda d: d["implementations"][1].update(loads_only=True),
                                                    "implementation 'torch' only loads"),
    "other schema version": (lambda d: d.update(schema_version=2), "at schema_version"),
    "missing top field": (lambda d: d.pop("complete"), '"complete" is a required property'),
    "unknown top field": (lambda d: d.update(more=1), "'more' was unexpected"),
    "unknown test field": (lambda d: d["tests"][3].update(lucky=True), "at tests[3]: "),
    "no upstream function": (lambda d: d["tests"][3].pop("upstream_function"), '"upstream_function" is a required'),
    "waived without a waiver": (lambda d: waived(d).update(waiver=None), "verdict waived without a waiver"),
    "waived by an expired waiver": (lambda d: waived(d)["waiver"].update(problem="has expired"), "does not hold"),
    "waived for another failure": (lambda d: waived(d)["waiver"].update(found="crash"), "does not hold"),
    "waiver without an owner": (lambda d: waived(d)["waiver"].update(owner=""), "waiver.owner"),
    "waiver with a bad date": (lambda d: waived(d)["waiver"].update(expires="soon"), "waiver.expires"),
    "flaky without repetitions": (lambda d: d["tests"][2].update(flaky=True), "flaky is true, the repetitions say"),
    "flakiness denied": (lambda d: d["tests"].__setitem__(2, example_run.make_flaky(d["tests"][2], "pass", "fail") | {
        "flaky": False}), "flaky is false, the repetitions say fail pass"),
    "flaky pass": (lambda d: d["tests"].__setitem__(0, example_run.make_flaky(d["tests"][0], "pass", "waived")),
                   "flaky, but verdict pass"),
    "pass of some repetitions": (lambda d: d["tests"].__setitem__(
        0, example_run.make_flaky(d["tests"][0], "pass", "not_run") | {"flaky": False}), "not of every repetition"),
    "trace of a repetition that climbs": (lambda d: d["tests"][0].update(
        repetitions=[{"verdict": "pass", "reason": "", "seconds": 0, "log": None, "trace": "../x"}]), "leaves the run"),
    "unknown verdict": (lambda d: d["tests"][1].update(verdict="passed"), 'at tests[1].verdict: "passed"'),
    "wrong type": (lambda d: d["tests"][0].update(seconds="1"), 'at tests[0].seconds: "1" is not of type "number"'),
    "tests is an object": (lambda d: d.update(tests={}), "at tests: "),
    "negative count": (lambda d: d["tests"][0]["checks"]["evaluated"]["C1"].update(evaluated=-1),
                       "evaluated.C1.evaluated"),
    "bool as a count": (lambda d: d["tests"][0].update(world_size=True), "tests[0].world_size"),
    "patch without a reason": (lambda d: d["implementations"][1]["patches"][0].update(reason=""), "patches[0].reason"),
    "bad parity kind": (lambda d: d["tests"][2]["parity"]["details"][0].update(kind="odd"), "tests[2].parity"),
    "local time": (lambda d: d["run"].update(started="2026-01-31 12:00"), "at run.started"),
    "summary without a verdict": (lambda d: d["summary"]["torch"].pop("hang"), '"hang" is a required property'),
    "unknown implementation": (lambda d: d["tests"][0].update(implementation="x"), "tests[0] (", ),
    "label twice": (lambda d: d["implementations"][1].update(label="reference"), "label 'reference' stands 2 times"),
    "same id twice": (lambda d: d["tests"][2].update(id=d["tests"][0]["id"]), "second result of this id"),
    "summary counts more": (lambda d: d["summary"]["torch"].update({"pass": 14}),
                            "summary.torch.pass: says 14, the tests say 13"),
    "summary of another": (rename_summary, "'other' is not in both"),
    "pass with a failed check": (lambda d: d["tests"][0]["checks"]["evaluated"]["C1"].update(failed=1),
                                 "verdict pass with failures C1"),
    "pass with a missing check": (lambda d: d["tests"][0]["checks"].update(missing=["C2"]), "not evaluated: C2"),
    "pass with a lost check": (lambda d: d["tests"][0]["checks"]["evaluated"].pop("C3"), "not evaluated: C3"),
    "rank beyond the world": (lambda d: d["tests"][0]["ranks"][0].update(rank=4), "rank 4 in a world of 4"),
    "rank twice": (lambda d: d["tests"][0]["ranks"][0].update(rank=1), "a rank stands twice"),
    "absolute log": (lambda d: d["tests"][0].update(log="/etc"), "log: '/etc' leaves the run folder"),
    "log that climbs": (lambda d: d["tests"][0].update(log="runs/../../x"), "leaves the run folder"),
    "pool of nobody": (lambda d: d["pools"][0].update(implementation="x"), "pools[0]: unknown implementation 'x'"),
}


@pytest.mark.parametrize("change, message", REJECTED.values(), ids=REJECTED)
def test_rejects(tmp_path, change, message):
    document = example_run.make_run()
    change(document)
    with pytest.raises(InputError) as caught:
        read(tmp_path, document)
    assert message in str(caught.value)
    assert "results.json: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_message_is_short_whatever_the_file_says(tmp_path):
    document = example_run.make_run()
    test = next(test for test in document["tests"] if test["verdict"] == "pass")
    test["checks"]["missing"] = ["x" * 70_000]
    with pytest.raises(InputError, match="verdict pass, but not evaluated: xxx") as caught:
        read(tmp_path, document)
    assert len(str(caught.value)) == MAX_MESSAGE and str(caught.value).endswith("x ...")


BROKEN_TEXT = {
    "truncated": (lambda text: text[:len(text) // 2], "truncated or corrupt JSON"),
    "empty": (lambda text: "", "empty file"),
    "not JSON": (lambda text: "hello", "line 1, column 1"),
    "NaN": (lambda text: text.replace("12.34", "NaN"), "NaN is not a JSON number"),
    "infinite": (lambda text: text.replace("12.34", "1e999"), "1e999 is out of range"),
    "too many digits": (lambda text: text.replace("12.34", "9" * 5000), "has more than 20 digits"),
    "key twice": (lambda text: text.replace('"schema_version": 1', '"schema_version": 1, "schema_version": 1'),
                  "stands twice"),
    "deep": (lambda text: "[" * 200000, "nested too deeply"),
    "deeper than a run": (lambda text: "[" * 300 + "]" * 300, "nested more than 200 deep"),
    "a list": (lambda text: "[]", "at the top: "),
}


@pytest.mark.parametrize("change, message", BROKEN_TEXT.values(), ids=BROKEN_TEXT)
def test_rejects_broken_text(tmp_path, change, message):
    (tmp_path / "results.json").write_text(change(json.dumps(example_run.make_run())))
    with pytest.raises(InputError, match="results.json: ") as caught:
        read_report(tmp_path)
    assert message in str(caught.value)
