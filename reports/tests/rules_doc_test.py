"""docs/rules.md says what the rule files say."""
from shardcts_reports import rules_doc


def test_the_page_is_current():
    assert rules_doc.main(["--check"]) == 0, "python -m shardcts_reports.rules_doc --write makes it anew"


def test_every_rule_is_on_the_page_with_its_level():
    areas = rules_doc.read_areas()
    page = rules_doc.render(areas)
    for area in areas:
        section = page.split(f"## {area['area']}\n")[1].split("\n## ")[0]
        assert all(f"| {rule['id']} | {rule['level']} | " in section for rule in area["rules"])
    assert f"{sum(len(area['rules']) for area in areas)} rules" in page


def test_every_area_of_the_folder_is_listed():
    listed = {area["area"] for area in rules_doc.read_areas()}
    files = [rules_doc.load_json(path) for path in (rules_doc.SUITE / "rules").glob("*.json")]
    assert listed == {area["area"] for area in files if area["rules"]}


def test_a_stale_page_is_noticed(tmp_path, monkeypatch, capsys):
    (tmp_path / "rules.md").write_text(rules_doc.render(rules_doc.read_areas()) + "x")
    monkeypatch.setattr(rules_doc, "DOCUMENT", tmp_path / "rules.md")
    assert rules_doc.main(["--check"]) == 1
    assert "rules.md: stale" in capsys.readouterr().err
    assert rules_doc.main(["--write"]) == rules_doc.main(["--check"]) == 0
