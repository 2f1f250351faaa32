"""summary.md: the run on one screen, for merge requests and job summaries."""
import re

from .causes import Cause
from .model import Report, tally, until
from .suites import COLUMNS, PARITY_FIELDS, kill_table_text
from .verdicts import VERDICTS

MAX_CAUSES = 50


def render_markdown(report: Report) -> str:
    tone, sentence = report.outcome
    parts = ["# ShardCTS conformance report", f"{'✓' if tone == 'good' else '✗'} **{text(sentence)}**"]
    if not report.complete:
        parts.append("> **INCOMPLETE RUN**: interrupted, or a part was lost; not a result for the suite.")
    parts += [_facts(report), "## Verdicts", _verdicts(report), *_problems(report), *_capabilities(report), *_suites(report), *_rules(report),
              "## Implementations", _implementations(report)]
    parts += _parity(report) + _waivers(report)
    return "\n\n".join(parts) + "\n"


def text(value, limit: int = 300) -> str:
    """Plain text for a Markdown cell: one line, nothing in it is markup."""
    line = " ".join(str(value).split())
    line = line if len(line) <= limit else line[:limit - 1] + "…"
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~@!])", r"\\\1", line)


def code(value) -> str:
    """A code span that holds any one line, also inside a table."""
    line = " ".join(str(value).split()).replace("|", "\\|")
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}" if line else ""


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _facts(report: Report) -> str:
    run, environment = report.run, report.run["environment"]
    facts = [("Command", code(run["command"])), ("Commit", code(run["suite_commit"] or "unknown")),
             ("Seed", text(run["seed"])),
             ("Started", f"{text(run['started'])}, took {run['seconds']:.1f} s, {run['pool']} rank pools")]
    facts += _run_choices(run)
    facts.append(("Environment", text(", ".join(
        f"{key} {value}" for key, value in environment.items() if value not in (None, "")), 600)))
    return "\n".join(f"* {name}: {value}" for name, value in facts)


def _run_choices(run: dict) -> list[tuple[str, str]]:
    """Options of the command line that differ from the defaults."""
    facts = []
    if run["repeat"] > 1:
        facts.append(("Repetitions", text(f"{run['repeat']} of each test")))
    if run["require"]:
        facts.append(("Required capabilities", text(", ".join(run["require"]))))
    if run.get("require_should"):
        facts.append(("Rules of level SHOULD", "required"))
    if run["waivers"]:
        facts.append(("Waiver files", ", ".join(code(file) for file in run["waivers"])))
    return facts


def _verdicts(report: Report) -> str:
    used = [name for name in VERDICTS if any(item.counts[name] for item in report.implementations)] or ["pass"]
    header = ["implementation", "results"] + [f"{VERDICTS[name].symbol} {VERDICTS[name].label}" for name in used]
    rows = [[code(item.label), str(item.total)] + [str(item.counts[name]) for name in used]
            for item in report.implementations]
    return table(header, rows)


def _implementations(report: Report) -> str:
    parts = []
    for item in report.implementations:
        record = item.record
        name = text(f"{record['name']} {record['version']}".strip())
        lines = [f"* {code(item.label)}: {name}, **{text(item.device.text)}**"]
        if record["mutant"]:
            lines.append(f"  * mutant {code(record['mutant'])}: one seeded bug, failures are expected")
        lines.append(f"  * capabilities: {text(', '.join(record['capabilities']) or 'none', 1000)}")
        lines += [f"  * patch {code(patch['target'])}: {text(patch['reason'])}" for patch in record["patches"]]
        parts.append("\n".join(lines))
    return "\n".join(parts)


def _capabilities(report: Report) -> list[str]:
    """Of results that name them."""
    if not report.coverage:
        return []
    rows = [[code(name), *(share.text for share in shares)] for name, shares in report.coverage]
    return ["## Capabilities", table(["capability", *map(code, report.labels)], rows)]


def _suites(report: Report) -> list[str]:
    rows = [[code(suite.name), *suite.size_texts, code(item.label), text(item.evaluated_text), item.verdicts_text,
             text(item.parity_text), suite.mutants_text] for suite in report.suites for item in suite.implementations]
    about = [text(kill_table_text(report.document, report.mutants))] if report.mutants else []
    return ["## Suites", table(list(COLUMNS), rows), *about]


def _rules(report: Report) -> list[str]:
    parts = []
    for rules in report.rule_tables:
        rows = [[rule.id, rule.level, text(rule.sentence), text(rule.source), *rule.texts] for rule in rules.rows]
        header = ["id", "level", "rule", "source", *map(code, report.labels)]
        parts += [f"## Rules of {text(rules.suite)}", table(header, rows)]
        profiles = [[profile.name, str(profile.rules), *profile.texts] for profile in rules.profiles]
        if profiles:
            parts += [f"### By profile: {text(rules.suite)}", table(["profile", "rules", *map(code, report.labels)], profiles)]
    return parts


def _parity(report: Report) -> list[str]:
    rows = [[code(item.label), code(against)] + [str(sums[name]) for name in ("tests", *PARITY_FIELDS, "waived")]
            for item in report.implementations for against, sums in item.parity.items()]
    if not rows:
        return []
    return ["## Parity", table(["implementation", "against", "tests", *PARITY_FIELDS, "waived tests, apart"], rows)]


def _waivers(report: Report) -> list[str]:
    if not report.waivers:
        return []
    rows = [[code(waiver["place"]), code(waiver["implementation"]), text(waiver["verdict"]), text(waiver["reason"]),
             text(waiver["owner"]), text(waiver["evidence"]), text(until(waiver)), text(tally(tests))]
            for waiver, tests in report.waivers]
    return ["## Waivers", table(["waiver", "implementation", "expects", "reason", "owner", "evidence", "until", "results"],
                                rows)]


def _problems(report: Report) -> list[str]:
    """By cause, each with its smallest test."""
    if not report.causes:
        return []
    parts = ["## Problems by cause", "\n".join(_cause(cause) for cause in report.causes[:MAX_CAUSES])]
    if len(report.causes) > MAX_CAUSES:
        parts.append(f"… and {len(report.causes) - MAX_CAUSES} more groups in the report.")
    return parts


def _cause(cause: Cause) -> str:
    verdict, test = VERDICTS[cause.verdict], cause.example
    flaky = ", flaky," if test["flaky"] else ""
    count = len(cause.tests)
    place = f"{code(cause.place)}: " if cause.place else ""
    more = f" and {count - 1} more" if count > 1 else ""
    lines = [f"* {verdict.symbol} **{count} {verdict.label}**{flaky} on {code(test['implementation'])}: "
             f"{place}{text(cause.shown)}",
             f"{code(test['id'])}{more}", code(test["reproduce"])]
    return "<br>\n  ".join(line for line in lines if line)
