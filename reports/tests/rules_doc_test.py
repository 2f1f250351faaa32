"""docs/rules.md and docs/storage_rules.md say what the rule files say."""
import pytest
from shardcts_reports import rules_doc

every_page = pytest.mark.parametrize("page", rules_doc.PAGES, ids=lambda page: page.suite)


def test_the_pages_are_current():
    assert rules_doc.main(["--check"]) == 0, "python -m shardcts_reports.rules_doc --write makes them anew"


@every_page
def test_every_rule_is_on_the_page_with_its_level(page):
    areas = rules_doc.read_areas(page.folder)
    text = rules_doc.render(page)
    for area in areas:
        section = text.split(f"## {area['area']}\n")[1].split("\n## ")[0]
        assert all(f"| {rule['id']} | {rule['level']} | " in section for rule in area["rules"])
    assert f"{sum(len(area['rules']) for area in areas)} rules" in text


@every_page
def test_every_area_of_the_folder_is_listed(page):
    listed = {area["area"] for area in rules_doc.read_areas(page.folder)}
    files = [rules_doc.load_json(path) for path in (page.folder / "rules").glob("*.json")]
    assert listed == {area["area"] for area in files if area["rules"]}


def test_a_stale_page_is_noticed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(rules_doc, "DOCS", tmp_path)
    assert rules_doc.main(["--write"]) == rules_doc.main(["--check"]) == 0
    with (tmp_path / "storage_rules.md").open("a") as page:
        page.write("x")
    assert rules_doc.main(["--check"]) == 1
    assert "storage_rules.md: stale" in capsys.readouterr().err
