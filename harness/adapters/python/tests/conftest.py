"""Puts the adapters' packages and the test adapters on the path, also when pytest is started by hand."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parents[3]

for folder in (TESTS.parent, TESTS.parent / "examples", ROOT / "fixtures" / "models" / "python", TESTS):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
