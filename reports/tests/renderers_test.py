"""Markdown and JUnit against approved baselines, and what the page may and may not contain."""
import json
import re
import xml.etree.ElementTree as ElementTree

import pytest

import example_run
from shardcts_reports.html import embed, page_data, render_html
from shardcts_reports.junit import render_junit
from shardcts_reports.markdown import code, render_markdown, text
from shardcts_reports.model import Device, device_of, function_of, read_report, variant_of
from shardcts_reports.terminal import render_terminal


@pytest.fixture
def report(tmp_path):
    return read_report(example_run.write_run(tmp_path, example_run.make_run()))


def changed_report(tmp_path, change):
    document = example_run.make_run()
    change(document)
    return read_report(example_run.write_run(tmp_path, document))


def test_markdown_baseline(report, approve):
    approve("summary.md", render_markdown(report))


def test_terminal_baseline(report, approve):
    approve("terminal.txt", render_terminal(report))


def test_nothing_in_the_terminals_text_moves_the_cursor(tmp_path):
    def change(document):
        failed = next(test for test in document["tests"] if test["verdict"] == "fail")
        failed["failures"][0]["message"] = "\x1b[2Jgone\x07 \u202e"

    shown = render_terminal(changed_report(tmp_path, change))
    assert "gone" in shown and all(c.isprintable() or c == "\n" for c in shown)


def test_the_terminal_shows_the_largest_causes_in_full(report):
    shown = render_terminal(report)
    counts = [int(line.split()[0]) for line in shown.split("largest first:\n")[1].split("\n\n")[0].splitlines()
              if line[:6].strip().isdigit()]
    assert counts == sorted((len(cause.tests) for cause in report.causes), reverse=True) and len(counts) > 3
    assert all(cause.example["id"] in shown for cause in report.causes)


def test_junit_baseline(report, approve):
    tree = ElementTree.fromstring(render_junit(report))
    ElementTree.indent(tree)
    approve("junit.xml", ElementTree.tostring(tree, encoding="unicode") + "\n")


def test_junit_sorts_verdicts_into_skipped_failure_and_error(report):
    tree = ElementTree.fromstring(render_junit(report))
    kinds = ("tests", "skipped", "failures", "errors")
    counts = {suite.get("name"): [int(suite.get(kind)) for kind in kinds] for suite in tree}
    assert counts == {"reference.fully_shard_state_dict": [13, 4, 3, 5], "torch.fully_shard_state_dict": [13, 0, 0, 0]}


def test_an_incomplete_run_is_red_everywhere(tmp_path):
    document = example_run.make_green_run() | {"complete": False}
    report = read_report(example_run.write_run(tmp_path, document))
    assert report.outcome[0] == "bad"
    assert 'id="incomplete"' in render_html(report)
    assert "**INCOMPLETE RUN**" in render_markdown(report)
    assert all(int(suite.get("errors")) == 1 for suite in ElementTree.fromstring(render_junit(report)))


def test_a_green_run_is_green(tmp_path):
    report = read_report(example_run.write_run(tmp_path, example_run.make_green_run()))
    assert report.outcome == ("good", "All 4 results that count are pass, not applicable or waived.")
    assert "INCOMPLETE" not in render_markdown(report)


def test_a_run_without_a_pass_is_not_green(tmp_path):
    document = example_run.finish([example_run.make_test("reference", "not_supported")])
    report = read_report(example_run.write_run(tmp_path, document))
    assert report.outcome == ("bad", "No test passed: nothing was proven.")


def test_flaky_results_are_red_and_said_to_be_flaky(tmp_path):
    def change(document):
        document["tests"][2] = example_run.make_flaky(document["tests"][2], "pass", "fail", "pass")
    report = changed_report(tmp_path, change)
    assert report.outcome == ("bad", "8 of 26 results are problems. 1 are flaky.")
    assert "**1 fail**, flaky, on" in render_markdown(report)
    assert b'type="flaky_fail"' in render_junit(report)
    page = render_html(report)
    assert '<span class="muted">flaky</span>' in page and '"repetitions_in_all":3' in page


def test_phases_are_on_the_page_with_the_logs_of_each(tmp_path):
    document = example_run.finish([example_run.make_phased_test("reference"),
                                   example_run.make_phased_test("torch", "fail", loader="reference")])
    data = page_data(read_report(example_run.write_run(tmp_path, document)))
    (row,) = data["rows"]
    assert [phase["implementation"] for phase in row["results"][1]["phases"]] == ["torch", "reference"]
    assert {"runs/reference/world-2/pool-0", "runs/reference/world-3/pool-0"} <= set(data["logs"])
    assert list(data["logs"]["runs/reference/world-2/pool-0"]) == ["0", "1"]


def test_an_implementation_that_only_loads_has_no_column(tmp_path):
    document = example_run.finish([example_run.make_phased_test("torch", loader="other")])
    document["implementations"].append(document["implementations"][0] | {"label": "other", "loads_only": True})
    document["summary"]["other"] = dict.fromkeys(document["summary"]["torch"], 0)
    report = read_report(example_run.write_run(tmp_path, document))
    assert report.labels == [item.label for item in report.implementations] == ["torch"]
    assert [column.label for column in report.suites[0].implementations] == ["torch"]
    assert "<dd>run by" not in render_html(report)


def test_ranks_that_are_threads_are_said_to_be_and_have_one_log(tmp_path):
    def change(document):
        test = document["tests"][0]
        test.update(rank_kind="threads", log="runs/reference/world-4-threads/pool-0")
        document["pools"].append({**document["pools"][0], "rank_kind": "threads"})
    report = changed_report(tmp_path, change)
    page = render_html(report)
    assert page.count('"rank_kind":"threads"') == 1
    assert page.count('"rank_kind":"processes"') == len(report.tests) - 1
    assert "reference, 4 ranks as threads: 1 start" in page
    logs = page_data(report)["logs"]
    assert list(logs["runs/reference/world-4-threads/pool-0"]) == ["0"]


def test_timings_of_phases_are_on_the_page_where_they_were_measured(tmp_path):
    timings = {"gather": {"calls": 3, "seconds": 0.25}}

    def change(document):
        document["tests"][0]["ranks"][1]["timings"] = timings
    report = changed_report(tmp_path, change)
    results = [result for row in page_data(report)["rows"] for result in row["results"]]
    assert [rank["timings"] for result in results for rank in result["ranks"] if "timings" in rank] == [timings]
    assert "timingsSection(result)" in render_html(report)


def test_waivers_are_listed_with_what_came_of_them(report):
    assert [(waiver["place"], len(tests)) for waiver, tests in report.waivers] == [("waivers.toml:3", 2)]
    page = render_html(report)
    table = page[page.index('id="waivers"'):]
    for cell in ("waivers.toml:3", "core team", "docs/deviations.md", "2026-12-31, before version 2.15",
                 "1 waived, 1 unexpected pass"):
        assert f">{cell}<" in table[:table.index("</table>")]


def test_a_run_that_asks_for_more_says_so(tmp_path):
    report = changed_report(tmp_path, lambda d: d["run"].update(repeat=3, require=["tp"], waivers=["w.toml"]))
    for rendered in (render_markdown(report), render_html(report)):
        assert "3 of each test" in rendered and "w.toml" in rendered


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>|`x`\u2028\ud800\x1b[31m"


def test_hostile_text_stays_text(tmp_path):
    def change(document):
        for test in document["tests"]:
            test["id"] += HOSTILE
            test["reproduce"] = HOSTILE
        document["tests"][2]["failures"][0]["message"] = HOSTILE
        document["tests"][2]["reason"] = HOSTILE
        document["run"]["command"] = HOSTILE
        document["run"]["environment"]["cpu"] = HOSTILE
        document["implementations"][0]["name"] = HOSTILE
    report = changed_report(tmp_path, change)
    page = render_html(report)
    assert "<img" not in page and "<script>alert" not in page
    assert len(re.findall("<script", page)) == len(re.findall("</script>", page)) == 3
    assert "<img" not in re.sub("`[^`]*`", "", render_markdown(report).replace("``", "`"))
    ElementTree.fromstring(render_junit(report))


def test_the_page_needs_nothing_from_outside(report):
    page = render_html(report)
    assert re.findall(r"""(?:src|href)\s*=\s*["'](?!#|data:)""", page) == []
    assert "default-src 'none'" in page
    assert "url(" not in page and "@import" not in page


def test_embedded_json_is_json():
    value = {"a": "</script>&\u2028"}
    assert json.loads(str(embed(value))) == value
    assert "<" not in str(embed(value))


@pytest.mark.parametrize("device, environment, kind", [
    ("cpu", {"gpu": None, "nccl": None}, "cpu"),
    ("cpu", {"gpu": "NVIDIA H200", "nccl": "2.27"}, "cpu"),
    ("cuda", {"gpu": "NVIDIA H200", "nccl": "2.27"}, "gpu"),
    ("cuda", {"gpu": None, "nccl": "2.27"}, "unproven"),
    ("cuda", {"gpu": "NVIDIA H200", "nccl": "emulator 2.27"}, "emulated"),
])
def test_only_a_real_gpu_makes_a_gpu_result(device, environment, kind):
    found = device_of({"device": device, "options": {}}, environment)
    assert isinstance(found, Device) and found.kind == kind
    assert found.text.startswith("GPU result") == (kind == "gpu")


def test_parameterized_instances_group_under_their_function():
    instance = "C.test_flow_state_dict_type_full_rank0_False"
    test = {"suite": "s", "upstream_id": instance, "upstream_function": "test_flow", "id": f"s/{instance}/world_size=2",
            "params": {"state_dict_type": "full", "rank0": False}}
    assert function_of(test) == "C.test_flow"
    assert variant_of(test) == "state_dict_type_full_rank0_False/world_size=2"


@pytest.mark.parametrize("value, expected", [
    ("a|b", "a\\|b"), ("<b>", "&lt;b&gt;"), ("two\nlines", "two lines"), ("@all #1", "\\@all \\#1")])
def test_markdown_text_is_never_markup(value, expected):
    assert text(value) == expected


@pytest.mark.parametrize("value, expected", [
    ("a", "`a`"), ("a`b", "``a`b``"), ("`a", "`` `a ``"), ("a|b", "`a\\|b`"), ("", "")])
def test_markdown_code_spans(value, expected):
    assert code(value) == expected
