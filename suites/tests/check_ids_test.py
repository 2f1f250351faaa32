"""Each check id of a suite's inventory is a literal in the suite's sources, so that grep finds where it is evaluated."""

import json
import pathlib
import re

import pytest

SUITES = pathlib.Path(__file__).resolve().parent.parent
NAMES = sorted(path.parent.name for path in SUITES.glob("*/upstream.json"))

# A comment or a literal, whichever begins first. Raw strings do not occur in suites.
_TOKEN = re.compile(r"""//[^\n]*|/\*.*?\*/|'(?:\\.|[^'\\\n])'|"((?:\\.|[^"\\\n])*)\"""", re.DOTALL)


def literals(source: str) -> set[str]:
    return {token[1] for token in _TOKEN.finditer(source) if token[1] is not None}


def missing_ids(inventory: dict, sources: list[str]) -> list[str]:
    ids = {check["id"] for test in inventory["tests"] for check in test["checks"]}
    found = set().union(*map(literals, sources))
    return sorted(ids - found, key=lambda check: int(check[1:]))


def composed_ids(sources: list[str]) -> list[str]:
    """Literals that an id is put together from: "C", "C{}"."""
    return sorted(text for source in sources for text in literals(source) if re.fullmatch(r"C(\{\w*\})?", text))


def sources_of(suite: str) -> list[str]:
    paths = [path for path in sorted((SUITES / suite).glob("*.*")) if path.suffix in (".cc", ".h")]
    return [path.read_text() for path in paths if not path.stem.endswith("_test")]


def test_a_literal_counts_and_nothing_else():
    inventory = {"tests": [{"checks": [{"id": f"C{number}"} for number in range(1, 8)]}]}
    source = """
        t.Check("C1", first);  // "C2"
        /* "C3" */ t.Strict({.names = "C57", .url = "http://x"}, '"');
        t.NoError("C4 ", "\\"C5\\""); t.Check(C6); std::string_view load = "C7";
    """
    assert missing_ids(inventory, [source]) == ["C2", "C3", "C4", "C5", "C6"]
    assert missing_ids(inventory, [source, 't.Check("C2");']) == ["C3", "C4", "C5", "C6"]


def test_an_id_that_is_put_together_is_noticed():
    assert composed_ids(['return "C" + std::to_string(n);', 'fmt::format("C{}", n)', '"C1" "CPU" "Class"']) == ["C", "C{}"]


@pytest.mark.parametrize("suite", NAMES)
def test_each_check_of_the_inventory_is_in_the_sources(suite):
    assert len(NAMES) >= 4
    inventory = json.loads((SUITES / suite / "upstream.json").read_text())
    assert missing_ids(inventory, sources_of(suite)) == []
    assert composed_ids(sources_of(suite)) == []
