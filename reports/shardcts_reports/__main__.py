"""python -m shardcts_reports DIR [--out DIR/report]: writes index.html, summary.md and junit.xml; --format text prints.

Of a run of shardcts fuzz it writes index.html."""
import argparse
import sys
from pathlib import Path

from .boundary import run_as_command
from .fuzz import is_fuzz_run, render_fuzz
from .html import render_html
from .junit import render_junit
from .markdown import render_markdown
from .model import read_report
from .mutants import read_mutants
from .terminal import render_terminal
from .write import write_files


def write_report(folder: Path, out: Path, mutants: Path | None = None) -> Path:
    """Renders everything first, then writes: either all files are of this run or none has changed. Returns the page."""
    if is_fuzz_run(folder):
        write_files(out, {"index.html": render_fuzz(folder).encode("utf-8", "replace")})
        return out / "index.html"
    report = read_report(folder)
    report.mutants = read_mutants(mutants) if mutants else None
    texts = {"index.html": render_html(report), "summary.md": render_markdown(report)}
    files = {name: text.encode("utf-8", "replace") for name, text in texts.items()}
    write_files(out, files | {"junit.xml": render_junit(report)})
    return out / "index.html"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="shardcts_reports", description="Renders results.json of a run.")
    parser.add_argument("folder", type=Path, help="the run folder, which holds results.json, or fuzz.json")
    parser.add_argument("--out", type=Path, help="where to write (default: FOLDER/report)")
    parser.add_argument("--mutants", type=Path, help="a kill table (mutants.json) for the table of the suites")
    parser.add_argument("--format", choices=("files", "text"), default="files",
                        help="text: verdicts and problems by cause on the terminal, and nothing is written")
    options = parser.parse_args(arguments)
    if options.format == "text":
        print(render_terminal(read_report(options.folder)), end="")
        return 0
    print(write_report(options.folder, options.out or options.folder / "report", options.mutants))
    return 0


if __name__ == "__main__":
    sys.exit(run_as_command(main))
