"""The rules of a run: sentence, level, source and the verdicts on each implementation, in all formats."""
from xml.etree import ElementTree

import example_run
import pytest
from shardcts_reports.html import render_html
from shardcts_reports.junit import render_junit
from shardcts_reports.load import InputError
from shardcts_reports.markdown import render_markdown
from shardcts_reports.model import read_report

RULES = [("GE1", "MUST", "Chunks have <c> rows."), ("GE2", "SHOULD", "Parts tile the shape."),
         ("GE3", "SHOULD", "Nobody selected this.")]


def run_of_rules() -> dict:
    """GE1 passes twice on both; GE2 is advice on `reference`, and passes on `torch`."""
    tests = []
    for rule, level, verdicts in (("GE1", "MUST", ("pass", "pass")), ("GE2", "SHOULD", ("advice", "pass"))):
        for label, verdict in zip(("reference", "torch"), verdicts):
            for n in (1, 2) if rule == "GE1" else (1,):
                test = example_run.make_test(label, verdict, rule, mlp_dim=n)
                test.update(id=f"extended/{rule}/world_size=4,n={n}", suite="extended", upstream_id=rule, level=level)
                tests.append(test)
    document = example_run.finish(tests)
    document["suites"] = [{"name": "extended", "functions": 3, "instances": 3, "ids": 3, "checks": 3, "unreached": 0,
                           "rules": [{"id": rule, "level": level, "area": "Geometry", "sentence": sentence,
                                      "source": "a page", "bites_with": "n < W"} for rule, level, sentence in RULES]}]
    return document


@pytest.fixture
def report(tmp_path):
    return read_report(example_run.write_run(tmp_path, run_of_rules()))


def test_a_rule_has_the_verdicts_of_each_implementation(report):
    (table,) = report.rule_tables
    assert table.suite == "extended"
    assert [(row.id, row.level, row.verdicts) for row in table.rows] == [
        ("GE1", "MUST", [{"pass": 2}, {"pass": 2}]), ("GE2", "SHOULD", [{"advice": 1}, {"pass": 1}])]


def test_advice_is_counted_apart_and_not_red(report):
    assert report.outcome == ("good", "All 5 results that count are pass, not applicable or waived. "
                                      "1 is advice and counted apart.")


def test_all_formats_show_the_rule(report):
    markdown, page = render_markdown(report), render_html(report)
    assert "| GE2 | SHOULD | Parts tile the shape. | a page | △ 1 advice | ✓ 1 pass |" in markdown
    assert "Chunks have &lt;c&gt; rows." in page and "Parts tile the shape." in page
    assert "Nobody selected" not in markdown + page
    skipped = [case for case in ElementTree.fromstring(render_junit(report)).iter("testcase") if case.find("skipped") is not None]
    assert [case.find("skipped").get("type") for case in skipped] == ["advice"]


def test_rules_with_profiles_are_summed_up_by_profile(tmp_path):
    document = run_of_rules()
    for rule, profile in zip(document["suites"][0]["rules"], ("core", "durable", "durable"), strict=True):
        rule["profile"] = profile
    report = read_report(example_run.write_run(tmp_path, document))
    (table,) = report.rule_tables
    assert [(row.name, row.rules, row.texts) for row in table.profiles] == [
        ("core", 1, ["1 of 1 kept", "1 of 1 kept"]), ("durable", 1, ["0 of 1 kept; not: GE2", "1 of 1 kept"])]
    assert "| durable | 1 | 0 of 1 kept; not: GE2 | 1 of 1 kept |" in render_markdown(report)
    assert "0 of 1 kept; not: GE2" in render_html(report)


def test_suites_without_profiles_have_no_sums(report):
    assert report.rule_tables[0].profiles == [] and "By profile" not in render_html(report)


def test_advice_for_a_must_is_a_contradiction(tmp_path):
    document = run_of_rules()
    next(test for test in document["tests"] if test["verdict"] == "advice")["level"] = "MUST"
    with pytest.raises(InputError, match="verdict advice, but level MUST"):
        read_report(example_run.write_run(tmp_path, document))
