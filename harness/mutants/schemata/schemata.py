"""One copy of sources that has all mutants in it, each switched on by its number (mutant schemata).

    python schemata.py --sources reference_impl --mutants FOLDER|FILE.json --out FOLDER --table FILE.json

FOLDER has one NAME.toml for each mutant (../source), FILE.json a list of the same with their names. The files below
--sources are written to --out, those of tests left out; where a mutant changes a text, its number decides at run time
between the original and the replacement. --table has the mutants in the order of their numbers, for `shardcts mutants`.
A file that would not change is not written. A change that does not fit ends with one line on stderr and exit code 1.
"""

import argparse
import json
import re
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

SWITCH_HEADER = '#include "mutants/schemata/mutant_switch.h"\n'
NAME = re.compile(r"[a-z0-9_]+")
TEXTS, LISTS = ("breaks", "models"), ("suites", "expected_checks", "tests")
KEYS = {*TEXTS, *LISTS, "name", "min_world_size", "unnoticed", "change", "left_out"}
CHANGE_KEYS = {"file", "original", "replacement", "kind", "offset"}


class DoesNotFit(Exception):
    """A mutant that cannot be made; one line that names file and mutant."""


@dataclass(frozen=True)
class Edit:
    """Bytes begin … end of a file become `replacement` when the mutant with this number is on."""

    begin: int
    end: int
    number: int
    replacement: str
    statement: bool


@dataclass
class Place:
    """A stretch of text that one or more mutants change as a whole, and the changes inside it."""

    edits: list
    inside: list = field(default_factory=list)


def load_mutants(path):
    """The mutants of a folder or a JSON file, sorted by name."""
    path = Path(path)
    if path.is_dir():
        mutants = [{"name": file.stem, **_toml(file)} for file in path.glob("*.toml")]
    else:
        mutants = json.loads(path.read_text())
    for mutant in mutants:
        _check_fields(mutant)
    return sorted(mutants, key=lambda mutant: mutant["name"])


def _toml(file):
    try:
        return tomllib.loads(file.read_text())
    except tomllib.TOMLDecodeError as error:
        raise DoesNotFit(f"{file.name}: {error}") from error


def _check_fields(mutant):
    name = mutant["name"]
    if not NAME.fullmatch(name):
        raise DoesNotFit(f"mutant {name}: a name has small letters, digits and _")
    for key in mutant.keys() - KEYS:
        raise DoesNotFit(f"mutant {name}: unknown field {key!r}")
    if not mutant.get("change"):
        raise DoesNotFit(f"mutant {name}: changes nothing")
    for change in mutant["change"]:
        for key in change.keys() - CHANGE_KEYS:
            raise DoesNotFit(f"mutant {name}: unknown field {key!r} of a change")


def mutate(text, edits):
    """The text with every edit in it, switched."""
    return _render(text, _nest(_without_partial_overlaps(text, edits)), 0, len(text))


def _without_partial_overlaps(text, edits):
    """Of two edits that overlap in part each is widened to the text of both."""
    edits = sorted(edits, key=lambda edit: (edit.begin, -edit.end))
    for i, first in enumerate(edits):
        for j in range(i + 1, len(edits)):
            second = edits[j]
            if not first.begin < second.begin < first.end < second.end:
                continue
            statement = first.statement or second.statement
            edits[i] = Edit(first.begin, second.end, first.number, first.replacement + text[first.end:second.end], statement)
            edits[j] = Edit(first.begin, second.end, second.number, text[first.begin:second.begin] + second.replacement,
                            statement)
            return _without_partial_overlaps(text, edits)
    return edits


def _nest(edits):
    places = []
    for edit in edits:  # outer ones come first
        level = places
        while level and edit.end <= level[-1].edits[0].end:
            last = level[-1].edits[0]
            if (last.begin, last.end) == (edit.begin, edit.end):
                break
            level = level[-1].inside
        if level and (level[-1].edits[0].begin, level[-1].edits[0].end) == (edit.begin, edit.end):
            level[-1].edits.append(edit)
        else:
            level.append(Place([edit]))
    return places


def _render(text, places, begin, end):
    pieces = []
    for place in places:
        first = place.edits[0]
        pieces.append(text[begin:first.begin])
        pieces.append(_switched(place.edits, _render(text, place.inside, first.begin, first.end)))
        begin = first.end
    return "".join(pieces) + text[begin:end]


def _switched(edits, original):
    """Each replacement in a line of its own, so that a compiler's message says which one it means."""
    if any(edit.statement for edit in edits):
        tests = "".join(f"\nif (::shardcts::SourceMutant({edit.number})) {{ {_in_one_line(edit.replacement)} }} else "
                        for edit in edits)
        return f"{{{tests}\n{{ {original} }} }}"
    tests = "".join(f"\n(::shardcts::SourceMutant({edit.number}) ? ({_in_one_line(edit.replacement)}) :" for edit in edits)
    return f"{tests}\n ({original})" + ")" * len(edits)


def _in_one_line(code):
    return " ".join(line.strip() for line in code.splitlines())


def edits_of(mutant, number, read):
    """(file, edit) of each change. `read(file)`: the text, or None. A mutant that is left out keeps its number."""
    for change in [] if "left_out" in mutant else mutant["change"]:
        file, original = change["file"], change["original"].strip("\n")
        text = read(file)
        if text is None:
            raise DoesNotFit(f"{file}: there is no such file, which mutant {mutant['name']} changes")
        if "offset" in change:
            begin = change["offset"]
        else:
            if text.count(original) != 1:
                raise DoesNotFit(f"{file}: the text that mutant {mutant['name']} changes is there "
                                 f"{text.count(original)} times, not once: {_in_one_line(original)!r:.100}")
            begin = text.index(original)
        kind = change.get("kind") or ("statement" if original.rstrip().endswith((";", "}")) else "expression")
        yield file, Edit(begin, begin + len(original), number, change["replacement"].strip("\n"), kind == "statement")


def make_copy(sources, mutants, out):
    """Writes the mutated copy. Returns the files that have mutants."""
    sources, out = Path(sources), Path(out)
    texts = {file.relative_to(sources).as_posix(): file.read_text()
             for file in sorted(sources.rglob("*")) if file.suffix in (".cc", ".h") and not is_of_tests(file)}
    edits = {}
    for number, mutant in enumerate(mutants):
        for file, edit in edits_of(mutant, number, texts.get):
            edits.setdefault(file, []).append(edit)
    for file, text in texts.items():
        if file in edits:
            text = with_header(mutate(text, edits[file]))
        _write_if_different(out / file, text)
    return sorted(edits)


def with_header(text):
    """The switch's header, behind what must come first in a header file."""
    pragma = "#pragma once\n"
    return text.replace(pragma, pragma + SWITCH_HEADER, 1) if pragma in text else SWITCH_HEADER + text


def is_of_tests(file):
    return file.name.endswith("_test.cc") or "testing" in file.parts


def table_of(mutants):
    """What the harness needs to know of them, in the order of their numbers."""
    return {"mutants": [{"name": mutant["name"], "description": mutant.get("breaks", ""), "models": mutant.get("models", ""),
                         **{key: mutant.get(key, []) for key in LISTS},
                         "min_world_size": mutant.get("min_world_size", 1), "unnoticed": mutant.get("unnoticed", "")}
                        for mutant in mutants]}


def names_source(mutants):
    """A source with the names, for the library."""
    names = "".join(f'    "{mutant["name"]}",\n' for mutant in mutants)
    return ('// Generated by schemata.py.\n#include "mutants/schemata/mutant_switch.h"\nnamespace shardcts {\n'
            f"std::vector<std::string_view> SourceMutantNames() {{\n  return {{\n{names}  }};\n}}\n}}  // namespace shardcts\n")


def _write_if_different(file, text):
    if file.exists() and file.read_text() == text:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option in ("--sources", "--mutants", "--out", "--table"):
        parser.add_argument(option, required=True, type=Path)
    options = parser.parse_args()
    try:
        mutants = load_mutants(options.mutants)
        make_copy(options.sources, mutants, options.out)
    except DoesNotFit as problem:
        print(f"{options.mutants}: {problem}", file=sys.stderr)
        return 1
    _write_if_different(options.out / "source_mutant_names.cc", names_source(mutants))
    _write_if_different(options.table, json.dumps(table_of(mutants), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
