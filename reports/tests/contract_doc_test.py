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


def test_every_record_and_field_is_on_the_page(document):
    page = contract_doc.render(document)
    for record in document["records"]:
        section = page.split(f"### record {record['name']}\n")[1].split("\n#")[0]
        assert all(f"| `{field['name']}` | " in section for field in record.get("fields", ()))
        assert all(f'| `"{case}"` | [record {name}](#record-{name}) |' in section
                   for case, name in record.get("cases", {}).items())
    assert "| `options` | [record wrap_options](#record-wrap_options) | no |" in page
    assert '| `style` | string | yes | one of "colwise", "rowwise", "sequence" |' in page
    assert "| `min_num_params` | int | yes | at least 0 |" in page
    assert "| `pin_memory` | bool | no | default true |" in page


def _record(document, name):
    return next(record for record in document["records"] if record["name"] == name)


def _fields(document):
    return _record(document, "fully_shard_options")["fields"]


def _operation(document, name):
    return next(operation for operation in document["operations"] if operation["name"] == name)


def _options(document):
    """The argument `options` of model.wrap."""
    return _operation(document, "model.wrap")["arguments"][-1]


VIOLATIONS = {
    "operation twice": (lambda d: d["operations"].append(copy.deepcopy(d["operations"][0])), "stands 2 times"),
    "capability without its parent": (lambda d: d["capabilities"].insert(0, {"name": "core.half", "text": "x"}),
                                      "must stand below core"),
    "capability twice": (lambda d: d["capabilities"].append(d["capabilities"][0]), "capability 'core' stands 2 times"),
    "unknown capability": (lambda d: d["operations"][0].update(capability="x"), "unknown capability 'x'"),
    "unknown group": (lambda d: d["operations"][0].update(group="x"), "unknown group 'x'"),
    "missing field": (lambda d: d["operations"][0].pop("source"), "fields missing: ['source']"),
    "unknown field": (lambda d: d["operations"][0].update(more=1), "unknown: ['more']"),
    "collective as text": (lambda d: d["operations"][0].update(collective="yes"), "collective must be"),
    "empty semantics": (lambda d: d["operations"][0].update(semantics=" "), "semantics must be a text"),
    "argument type": (lambda d: d["operations"][2]["arguments"][0].update(type="integer"), "unknown type 'integer'"),
    "argument field": (lambda d: d["operations"][2]["arguments"][0].pop("required"), "argument 'seed'"),
    "unknown record": (lambda d: _options(d).update(type="record nothing"), "unknown type 'record nothing'"),
    "unknown case": (lambda d: _record(d, "wrap_options")["cases"].update(fsdp="nothing"), "unknown record 'nothing'"),
    "record of nothing": (lambda d: _options(d).update(type="dict"), "record 'wrap_options' is of no argument"),
    "record with both": (lambda d: _record(d, "wrap_options").update(fields=[]), "(wrap_options): needs name, text"),
    "field twice": (lambda d: _fields(d).append(_fields(d)[0]), "field 'mesh' stands 2 times"),
    "field without a meaning": (lambda d: _fields(d)[0].pop("text"), "field 'mesh': an optional field needs a default"),
    "default of another type": (lambda d: _fields(d)[1].update(default="yes"), "'yes' cannot be its default"),
    "default that is not allowed": (lambda d: _fields(d)[2].update(default="first"), "'first' cannot be its default"),
    "default of what is required": (lambda d: _fields(d)[1].update(default=True, required=True), "cannot be its default"),
    "values of no string": (lambda d: _fields(d)[1].update(values=["a"]), "values are of a string"),
    "min of no int": (lambda d: _fields(d)[1].update(min=1), "min is of an int"),
    "silent default": (lambda d: _operation(d, "mesh.init")["arguments"][1].pop("text"), "what its absence means"),
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


def test_parts_of_capabilities_are_on_the_page_of_capabilities(document):
    assert "| `fsdp1` | " in contract_doc.render(document)
    assert "| `fsdp1.full` | " not in contract_doc.render(document)
