"""ShardCTS as pip installs it: its folder is the tree of `cmake --install`; two commands start what is in it.

For CMake: -DCMAKE_PREFIX_PATH="$(python -c 'import shardcts_installed as s; print(s.PREFIX)')".
"""

import os
import runpy
import sys
from pathlib import Path

PREFIX = Path(__file__).resolve().parent


def run_program() -> None:
    """The command shardcts: becomes the program, whose ranks use this Python unless SHARDCTS_PYTHON names another."""
    os.environ.setdefault("SHARDCTS_PYTHON", sys.executable)
    program = PREFIX / "bin/shardcts"
    try:
        os.execv(program, ["shardcts", *sys.argv[1:]])
    except OSError as error:
        sys.exit(f"shardcts: {program}: {error.strerror}; install the package again")


def run_report() -> None:
    """The command shardcts-report: the report of a run folder, by the package that `shardcts report` starts, too."""
    sys.path.insert(0, str(PREFIX / "share/shardcts/reports"))
    sys.argv[0] = "shardcts-report"
    runpy.run_module("shardcts_reports", run_name="__main__")
