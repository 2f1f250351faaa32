"""The contract's table is well-formed and docs/contract.md says what it says."""
import copy

import pytest

from shardcts_reports import contract_doc
from shardcts_reports.load import InputError, load_json
from shardcts_reports.verdicts import VERDICTS


@pytest.fixture
def document():
    return load_json(contract_doc.TABLE)


def test_the_table_is_well_formed(document):
    contract_doc.check_table(document)


def test_the_page_is_current():
    assert contract_doc.main(["--check"]) == 0, "python -m shardcts_reports.contract_doc --write makes it anew"


def test_every_operation_and_argument_is_on_the_page(document):
    page = contract_doc.render(document)
    for operation in document["operations"]:
        section = page.split(f"### {operation['name']}\n")[1].split("\n#")[0]
        assert ("*Collective*" if operation["collective"] else "*Local*") in section
        assert all(f"| `{argument['name']}` | " in section for argument in operation["arguments"])


def test_a_stale_page_is_noticed(tmp_path, monkeypatch, document, capsys):
    (tmp_path / "contract.md").write_text(contract_doc.render(document) + "x")
    monkeypatch.setattr(contract_doc, "DOCUMENT", tmp_path / "contract.md")
    assert contract_doc.main(["--check"]) == 1
    assert "contract.md: stale" in capsys.readouterr().err
    assert contract_doc.main(["--write"]) == contract_doc.main(["--check"]) == 0


VIOLATIONS = {
    "operation twice": (lambda d: d["operations"].append(copy.deepcopy(d["operations"][0])), "stands 2 times"),
    "capability twice": (lambda d: d["capabilities"].append(d["capabilities"][0]), "capability 'core' stands 2 times"),
    "unknown capability": (lambda d: d["operations"][0].update(capability="x"), "unknown capability 'x'"),
    "unknown group": (lambda d: d["operations"][0].update(group="x"), "unknown group 'x'"),
    "missing field": (lambda d: d["operations"][0].pop("source"), "fields missing: ['source']"),
    "unknown field": (lambda d: d["operations"][0].update(more=1), "unknown: ['more']"),
    "collective as text": (lambda d: d["operations"][0].update(collective="yes"), "collective must be"),
    "empty semantics": (lambda d: d["operations"][0].update(semantics=" "), "semantics must be a text"),
    "argument type": (lambda d: d["operations"][2]["arguments"][0].update(type="integer"), "unknown type 'integer'"),
    "argument field": (lambda d: d["operations"][2]["arguments"][0].pop("required"), "argument 'seed'"),
    "silent default": (lambda d: d["operations"][4]["arguments"][1].pop("text"), "what its absence means"),
    "result type": (lambda d: d["operations"][0]["result"].update(type="map"), "result: unknown type"),
    "contract version": (lambda d: d.update(contract_version="1"), "contract_version"),
    "no operations": (lambda d: d.pop("operations"), "the top must have"),
}


@pytest.mark.parametrize("change, message", VIOLATIONS.values(), ids=VIOLATIONS)
def test_violations_are_named(document, change, message):
    change(document)
    with pytest.raises(InputError) as caught:
        contract_doc.check_table(document)
    assert message in str(caught.value)


def test_docs_explain_every_verdict():
    page = (contract_doc.ROOT / "docs" / "verdicts.md").read_text(encoding="utf-8")
    for verdict in VERDICTS.values():
        assert f"| {verdict.symbol} `{verdict.name}` | " in page
