"""python -m shardcts_reports.mutants FILE [--out FOLDER]: the kill table as mutants.md and mutants.html."""
import argparse
import sys
from collections import Counter
from pathlib import Path

from .boundary import run_as_command
from .html import embed, render_page
from .load import InputError, load_json, validate
from .markdown import code, table, text
from .verdicts import Verdict
from .write import write_files

MAX_KILLERS = 200  # per mutant on the page

FATES = {fate.name: fate for fate in (
    Verdict("killed", "✓", "good", "At least one check of the suite noticed the seeded bug."),
    Verdict("survived", "✗", "bad", "The suite stayed green with the bug in it: it is not sensitive to it."),
    Verdict("incompetent", "⚠", "broken", "It could not be judged: the bug never acted, or the run itself broke."))}


def read_mutants(path: Path) -> dict:
    """InputError when the file is missing, broken or contradicts itself."""
    document = load_json(path)
    validate(document, "mutants.schema.json", path)
    for index, mutant in enumerate(document["mutants"]):
        where = f"{path}: mutants[{index}] ({mutant['name'][:100]!r})"
        if [other["name"] for other in document["mutants"]].count(mutant["name"]) > 1:
            raise InputError(f"{where}: the name stands twice")
        if (mutant["verdict"] == "killed") != bool(mutant["killed_by"]):
            raise InputError(f"{where}: {mutant['verdict']}, but killed_by has {len(mutant['killed_by'])} entries")
        if mutant["expected_check_hit"] and mutant["verdict"] != "killed":
            raise InputError(f"{where}: expected_check_hit, but {mutant['verdict']}")
        if mutant.get("unnoticed") and mutant["expected_checks"]:
            raise InputError(f"{where}: said to be unnoticed, but there are checks that should notice it")
    return document


def tally(document: dict) -> tuple[str, str]:
    """Tone and one sentence."""
    mutants = document["mutants"]
    killed = [mutant for mutant in mutants if mutant["verdict"] == "killed"]
    hit = sum(mutant["expected_check_hit"] for mutant in killed)
    known = sum(mutant["verdict"] == "survived" and bool(mutant.get("unnoticed")) for mutant in mutants)
    if not mutants:
        return "bad", "No mutant was run: nothing was proven."
    all_killed = len(killed) == len(mutants)
    tone = "good" if all_killed and hit == len(mutants) else "warn" if len(killed) + known == len(mutants) else "bad"
    sentence = f"{len(killed)} of {len(mutants)} mutants killed, {hit} by a check that was expected to notice."
    return tone, sentence + (f" That no test notices {known} of them is known." if known else "")


def killers(mutant: dict) -> list[tuple[str, int]]:
    """The checks that failed and in how many tests, expected ones first."""
    counts = Counter(entry["check"] or "no check" for entry in mutant["killed_by"])
    return sorted(counts.items(), key=lambda item: (item[0] not in mutant["expected_checks"], -item[1], item[0]))


def render_markdown(document: dict) -> str:
    tone, sentence = tally(document)
    rows = [[code(mutant["name"]), text(mutant["description"]), text(mutant["models"]),
             text(", ".join(mutant["expected_checks"])), f"{FATES[mutant['verdict']].symbol} {mutant['verdict']}",
             _killer_text(mutant), _hit_text(mutant)] for mutant in document["mutants"]]
    header = ["mutant", "seeded bug", "modelled on", "expected checks", "verdict", "killed by (tests)",
              "expected check hit"]
    return "\n\n".join([f"# Mutants of {code(document['implementation'])}",
                        f"{'✓' if tone == 'good' else '✗' if tone == 'bad' else '⚠'} **{text(sentence)}**",
                        table(header, rows)]) + "\n"


def render_html(document: dict) -> str:
    data = [{"tests": mutant["killed_by"][:MAX_KILLERS], "in_all": len(mutant["killed_by"])}
            for mutant in document["mutants"]]
    return render_page("mutants.html.j2", ["page.css", "mutants.css"], ["mutants.js"], {
        "document": document, "fates": FATES, "tally": tally(document), "killers": killers, "hit_text": _hit_text,
        "counts": Counter(mutant["verdict"] for mutant in document["mutants"]), "data": embed(data)})


def _killer_text(mutant: dict) -> str:
    if mutant["verdict"] == "survived" and mutant.get("unnoticed"):
        return text(f"no test, as is known: {mutant['unnoticed']}")
    return ", ".join(f"{text(check)} ({count})" for check, count in killers(mutant)[:8])


def _hit_text(mutant: dict) -> str:
    return "–" if mutant["verdict"] != "killed" else "✓ yes" if mutant["expected_check_hit"] else "✗ no"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="shardcts_reports.mutants", description="Renders a kill table.")
    parser.add_argument("file", type=Path, help="mutants.json")
    parser.add_argument("--out", type=Path, help="where to write (default: the file's folder)")
    options = parser.parse_args(arguments)
    document = read_mutants(options.file)
    out = options.out or options.file.parent
    write_files(out, {"mutants.html": render_html(document).encode("utf-8", "replace"),
                      "mutants.md": render_markdown(document).encode("utf-8", "replace")})
    print(out / "mutants.html")
    return 0


if __name__ == "__main__":
    sys.exit(run_as_command(main))
