"""The page of capabilities: names, sentences, numbers of tests."""
import pytest

from shardcts_reports import capabilities_doc
from shardcts_reports.load import load_json


@pytest.fixture
def document():
    return load_json(capabilities_doc.TABLE)


def test_tests_are_counted_that_apply(document):
    tests = [{"capabilities": ["core", "fsdp1", "fsdp1.full"], "not_applicable": None},
             {"capabilities": ["core"], "not_applicable": None},
             {"capabilities": ["core", "fsdp1"], "not_applicable": "upstream returns at once"}]
    page = capabilities_doc.render(document, tests)
    rows = {row.split("|")[1].strip(): [cell.strip() for cell in row.split("|")] for row in page.splitlines() if row[:2] == "| "}
    assert (rows["`core`"][3], rows["`fsdp1.full`"][3], rows["`fsdp1`"][3], rows["`tp`"][3]) == ("2", "1", "1", "0")
    assert rows["`fsdp1`"][4] == "`distributed.fsdp1`"
    assert "of 2 that apply" in page


def test_every_capability_has_a_sentence_on_the_page(document):
    page = capabilities_doc.render(document, [])
    assert all(f"| `{entry['name']}` | " in page for entry in document["capabilities"])
    assert all(entry["text"].endswith(".") for entry in document["capabilities"])
