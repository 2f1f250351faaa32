"""Pages of the documentation that are made from data: `--check` that they are current, or `--write` them."""
import argparse
import sys
from pathlib import Path

from .write import write_files


def check_or_write(arguments: list[str], module: str, page: Path, render) -> int:
    """The command of a module that makes `page`; `render()` is its text. 1: the page is stale."""
    parser = argparse.ArgumentParser(prog=f"shardcts_reports.{module}")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true", help=f"fail when docs/{page.name} is stale")
    action.add_argument("--write", action="store_true", help=f"write docs/{page.name}")
    options = parser.parse_args(arguments)
    text = render()
    if options.write:
        write_files(page.parent, {page.name: text.encode()})
    elif not page.exists() or page.read_text(encoding="utf-8") != text:
        print(f"{page}: stale; python -m shardcts_reports.{module} --write makes it anew", file=sys.stderr)
        return 1
    return 0
