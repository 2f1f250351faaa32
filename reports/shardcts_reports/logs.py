"""The last lines of the rank logs, read when the report is rendered. A log never makes the report fail."""
import os
import re
import stat
from pathlib import Path

TAIL_LINES = 100  # the stacks of a rank that hangs are among them
_TAIL_BYTES = 64 * 1024
_LINE_LENGTH = 400
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[@-Z\\-_])|[\x00-\x08\x0b-\x1f\x7f]")


class LogTails:
    """Tails by log folder and rank, each read once; `budget_bytes` limits the logs of a report in total."""

    def __init__(self, run_folder: Path, budget_bytes: int = 8 * 1024 * 1024):
        self._run_folder = run_folder.resolve()
        self._left = budget_bytes
        self.tails: dict[str, dict[str, dict]] = {}

    def add(self, log: str | None, world_size: int) -> None:
        """Reads the logs of one pool folder, unless they are there already."""
        if not log or log in self.tails:
            return
        self.tails[log] = {}
        for rank in range(min(world_size, 64)):
            entry = self._read(log, rank)
            self._left -= sum(len(line) for line in entry.get("lines", ()))
            self.tails[log][str(rank)] = entry

    def _read(self, log: str, rank: int) -> dict:
        if self._left <= 0:
            return {"note": "left out: the report carries enough logs already"}
        path = (self._run_folder / log / f"rank-{rank}.log").resolve()
        if not path.is_relative_to(self._run_folder):
            return {"note": "not shown: the log lies outside the run folder"}
        try:
            return {"lines": tail(path)}
        except (OSError, ValueError) as error:
            return {"note": f"not readable: {getattr(error, 'strerror', None) or error}"}


def tail(path: Path, lines: int = TAIL_LINES) -> list[str]:
    """The last lines of a regular file, without control sequences, long lines cut."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        file.seek(max(0, status.st_size - _TAIL_BYTES))
        text = file.read(_TAIL_BYTES).decode("utf-8", errors="replace")
    found = _ESCAPES.sub("", text.replace("\r\n", "\n")).split("\n")
    if found and not found[-1]:
        found.pop()
    return [line if len(line) <= _LINE_LENGTH else line[:_LINE_LENGTH] + "…" for line in found[-lines:]]
