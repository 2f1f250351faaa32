"""The run as plain text for a terminal: verdicts, problems by cause, capabilities. Nothing in it moves the cursor."""
from .causes import Cause
from .model import Report
from .verdicts import VERDICTS

MAX_CAUSES = 20
_LONGEST = 400  # characters of a message


def render_terminal(report: Report) -> str:
    parts = [_titles(report), report.outcome[1], _verdicts(report), _problems(report), _capabilities(report)]
    return "\n\n".join(plain_lines(part) for part in parts if part) + "\n"


def plain_lines(text: str) -> str:
    return "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in text.split("\n"))


def _titles(report: Report) -> str:
    records = [item.record for item in report.implementations]
    names = [f"{item.label}: {record['name']} {record['version']}" for item, record in zip(report.implementations, records)]
    return "\n".join(names + ([] if report.complete else ["INCOMPLETE RUN: interrupted, or a part was lost"]))


def _columns(rows: list[list[str]]) -> str:
    """The first column on the left, numbers on the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))])
             for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def _verdicts(report: Report) -> str:
    used = [name for name in VERDICTS if any(item.counts[name] for item in report.implementations)] or ["pass"]
    rows = [[item.label, str(item.total), *(str(item.counts[name]) for name in used)] for item in report.implementations]
    return _columns([["implementation", "tests", *used], *rows])


def _problems(report: Report) -> str:
    if not report.causes:
        return ""
    lines = ["problems by cause, the largest first:", *(_cause(cause) for cause in report.causes[:MAX_CAUSES])]
    if len(report.causes) > MAX_CAUSES:
        lines.append(f"… and {len(report.causes) - MAX_CAUSES} more causes in the report")
    return "\n".join(lines)


def _cause(cause: Cause) -> str:
    test, count = cause.example, len(cause.tests)
    place = f"{cause.place}: " if cause.place else ""
    shown = cause.shown if len(cause.shown) <= _LONGEST else cause.shown[:_LONGEST] + "…"
    more = f" and {count - 1} more" if count > 1 else ""
    lines = [f"{count:6} {cause.verdict} on {cause.implementation}: {place}{shown}", f"       {test['id']}{more}"]
    return "\n".join(lines + ([f"       reproduce: {test['reproduce']}"] if test["reproduce"] else []))


def _capabilities(report: Report) -> str:
    if not report.coverage:
        return ""
    return _columns([["capability", *report.labels], *([name, *(share.text for share in shares)]
                                                       for name, shares in report.coverage)])
