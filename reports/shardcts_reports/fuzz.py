"""The page of a run of shardcts fuzz: its findings by group with their scripts, rates, known deviations, coverage."""
import json
from pathlib import Path

from .html import render_page
from .load import InputError, load_json, validate
from .verdicts import Verdict

FILE = "fuzz.json"
MAX_SCRIPT_BYTES = 1 << 20
MAX_NEVER = 400  # pairs that were never tried, for two dimensions

CLEAN = Verdict("nothing", "✓", "good", "Nothing but what is known.")
FOUND = Verdict("findings", "✗", "bad", "Somebody has to look at each of them.")
EMPTY = Verdict("no programs", "⚠", "broken", "No program was judged: nothing was shown.")


def is_fuzz_run(folder: Path) -> bool:
    return (folder / FILE).exists() and not (folder / "results.json").exists()


def read_fuzz(folder: Path) -> dict:
    """InputError when fuzz.json or the script of a finding is missing or broken, or fuzz.json contradicts itself."""
    path = folder / FILE
    document = load_json(path)
    validate(document, "fuzz.schema.json", path)
    if document["legal"] + document["not_supported"] > document["programs"]:
        raise InputError(f"{path}: {document['programs']} programs, but {document['legal']} legal ones "
                         f"and {document['not_supported']} that are not supported")
    for row in document["coverage"]:
        if row["tried"] + len(row["never"]) != row["possible"]:
            raise InputError(f"{path}: coverage of {' and '.join(row['dimensions'])}: {row['tried']} pairs tried and "
                             f"{len(row['never'])} never are not {row['possible']}")
    files = [finding["file"] for finding in document["findings"]]
    if len(set(files)) < len(files):
        raise InputError(f"{path}: two findings have one file")
    return document


def steps_of(folder: Path, finding: dict) -> list[dict]:
    """The steps of its script: {name, operation, arguments}, and whether it is the step that shows the finding."""
    path = folder / finding["file"]
    script = load_json(path, MAX_SCRIPT_BYTES)
    phases = script.get("phases", [script]) if isinstance(script, dict) else None
    lists = [phase.get("steps") if isinstance(phase, dict) else None for phase in phases] if isinstance(phases, list) else [None]
    steps = [step for one in lists for step in one] if all(isinstance(one, list) for one in lists) else [None]
    if not all(isinstance(step, dict) for step in steps):
        raise InputError(f"{path}: has no steps")
    return [{"name": str(step.get("let", "")), "operation": str(step.get("op", "")), "shows": step.get("let") == finding["step"],
             "arguments": json.dumps(step.get("args", step.get("args_by_rank")), ensure_ascii=False)} for step in steps]


def outcome(document: dict) -> tuple[Verdict, str]:
    programs, groups = document["programs"], document["findings"]
    judged = programs - document["not_supported"]
    if not judged:
        return EMPTY, "No program was judged."
    return (FOUND, f"{len(groups)} groups of findings.") if groups else (CLEAN, "No findings beyond known deviations.")


def facts(document: dict) -> list[tuple[str, str]]:
    programs, seconds = document["programs"], document["seconds"]
    judged = programs - document["not_supported"]
    return [("Implementation", document["implementations"][0]), ("Baseline", (document["implementations"] + ["none"])[1]),
            ("Seed", str(document["seed"])), ("Generator", f"version {document['generator']}"),
            ("Ranks", ", ".join(map(str, document["worlds"]))), ("Programs", str(programs)),
            ("Operations", f"{document['operations']}, {document['operations'] / max(programs, 1):.0f} in a program"),
            ("Rate", f"{programs / seconds:.1f} programs per second, for {seconds:.0f} s" if seconds else "not measured"),
            ("Legal", f"{document['legal'] / max(judged, 1):.0%} of {judged}"), ("Not supported", str(document["not_supported"]))]


def render_fuzz(folder: Path) -> str:
    document = read_fuzz(folder)
    verdict, sentence = outcome(document)
    findings = [(finding, steps_of(folder, finding)) for finding in sorted(document["findings"], key=lambda one: -one["found"])]
    known = sorted(document["known_deviations"].items(), key=lambda item: -item[1])
    return render_page("fuzz.html.j2", ["page.css", "site.css"], [], {
        "document": document, "verdict": verdict, "sentence": sentence, "facts": facts(document), "findings": findings, "known": known,
        "max_never": MAX_NEVER, "options_by_operation": _by_operation(document["never_tried"]["options"])})


def _by_operation(options: list[str]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for option in options:
        operation, _, name = option.partition(" ")
        grouped.setdefault(operation, []).append(name)
    return grouped
