"""Makes the package importable from its source folder and declares the tests that need a browser."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "verify"))
sys.path.insert(0, str(Path(__file__).resolve().parent))


def pytest_configure(config):
    config.addinivalue_line("markers", "browser: runs a real headless Chromium")


def pytest_addoption(parser):
    parser.addoption("--update-baselines", action="store_true", help="write the approved outputs anew")
    parser.addoption("--screenshots", metavar="DIR", help="where the browser test leaves its pictures")


@pytest.fixture
def approve(request):
    """approve(name, text): the text equals tests/baselines/NAME, byte for byte."""
    def compare(name: str, text: str) -> None:
        path = Path(__file__).parent / "baselines" / name
        if request.config.getoption("--update-baselines"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"{name} changed; --update-baselines writes it anew"
    return compare
