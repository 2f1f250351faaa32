"""index.html: one self-contained page. Text goes through Jinja's autoescape or, as JSON, through `embed`."""
import base64
import hashlib
import json
import urllib.parse
from pathlib import Path

import jinja2
import markupsafe

from .logs import LogTails
from .model import Report, first_reason, tally, until
from .suites import COLUMNS, PARITY_FIELDS, kill_table_text
from .verdicts import PROBLEMS, RANK_ONLY, VERDICTS

MAX_ENTRIES = 100        # failures and differences per result on the page
MAX_CAUSES = 100         # groups of problems
MAX_LISTED = 200         # tests that a group lists
MAX_POOLS = 24           # rank pools in the run facts
MAX_TEXT = 4000          # characters of one message
_TEMPLATES = Path(__file__).resolve().parent / "templates"
_RESULT_FIELDS = ("verdict", "reason", "seconds", "checks", "waiver", "flaky", "ranks", "log", "trace", "reproduce")


def render_html(report: Report) -> str:
    return render_page("report.html.j2", ["page.css", "report.css"], ["detail.js", "report.js"], {
        "report": report, "verdicts": VERDICTS, "parity_fields": PARITY_FIELDS, "max_pools": MAX_POOLS, "until": until, "tally": tally,
        "max_causes": MAX_CAUSES, "max_listed": MAX_LISTED, "link_to": link_to, "suite_columns": COLUMNS, "problems": PROBLEMS, "first_reason": first_reason,
        "kill_table": kill_table_text(report.document, report.mutants) if report.mutants else "",
        "used": [name for name in VERDICTS if any(item.counts[name] for item in report.implementations)],
        "suites": sorted({test["suite"] for test in report.tests}),
        "world_sizes": sorted({test["world_size"] for test in report.tests}),
        "data": embed(page_data(report))})


def render_page(template: str, styles: list[str], scripts: list[str], values: dict) -> str:
    """A page that contains its styles and scripts, with a policy that allows nothing else to run or load."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True,
                                     lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    style = "\n" + "".join(_template_text(name) for name in styles)
    theme = "\n" + _template_text("theme.js")
    script = "\n" + "".join(_template_text(name) for name in scripts)
    policy = (f"default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; style-src {_hash(style)}; "
              f"script-src {_hash(theme)} {_hash(script)}")
    inline = {name: markupsafe.Markup(text) for name, text in (("style", style), ("theme", theme), ("script", script))}
    return environment.get_template(template).render(policy=markupsafe.Markup(policy), **inline, **values)


def embed(value) -> markupsafe.Markup:
    """JSON that cannot end the script element that contains it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return markupsafe.Markup(text)


def link_to(test: dict) -> str:
    """The address of a test on the page."""
    return "#" + urllib.parse.quote(test["id"], safe="", errors="replace")


def page_data(report: Report) -> dict:
    """What the page's script needs to filter rows and to show the details of one."""
    rows = [row for group in report.groups for row in group.rows]
    return {"labels": report.labels, "devices": [item.device.text for item in report.implementations],
            "verdicts": {name: {"symbol": verdict.symbol, "label": verdict.label, "tone": verdict.tone,
                                "meaning": verdict.meaning} for name, verdict in (VERDICTS | RANK_ONLY).items()},
            "rows": [_row_data(row) for row in rows], "logs": _log_tails(report)}


def _row_data(row) -> dict:
    some = next(result for result in row.results if result)
    return {"id": row.id, "suite": some["suite"], "upstream": some["upstream_id"], "world": row.world_size,
            "params": some["params"], "differs": row.differs,
            "results": [_result_data(result) if result else None for result in row.results]}


def _result_data(test: dict) -> dict:
    data = {name: test[name] for name in _RESULT_FIELDS}
    data["rank_kind"] = test.get("rank_kind", "processes")
    data["failures"] = [_shortened(failure) for failure in test["failures"][:MAX_ENTRIES]]
    data["failures_in_all"] = len(test["failures"])
    data["phases"] = [{**phase, "reason": _cut(phase["reason"])} for phase in test.get("phases", [])]
    data["repetitions"] = test["repetitions"][:MAX_ENTRIES]
    data["repetitions_in_all"] = len(test["repetitions"])
    parity = test["parity"]
    if parity:
        details = [_shortened(detail) for detail in parity["details"][:MAX_ENTRIES]]
        parity = {**parity, "details": details, "details_in_all": len(parity["details"])}
    data["parity"] = parity
    return data


def _shortened(entry: dict) -> dict:
    return {**entry, "message": _cut(entry["message"])}


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"


def _log_tails(report: Report) -> dict:
    """The logs of problems first, so that they fit into the budget."""
    tails = LogTails(report.folder)
    for test in sorted(report.tests, key=lambda test: test["verdict"] not in PROBLEMS):
        has_one_process = test.get("rank_kind") == "threads"
        for phase in test.get("phases", []):
            tails.add(phase["log"], phase["world_size"])
        tails.add(test["log"], 1 if has_one_process else test["world_size"])
    return tails.tails


def _template_text(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
