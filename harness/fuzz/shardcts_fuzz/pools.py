"""Runs many programs in few pools: a folder of scripts given to `shardcts exec`."""

import json
import os
import re
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from shardcts_fuzz.recordings import Recording

ENDS = ("crash", "hang", "diverged")
STOPPING = 10.0  # seconds until a command that does not end is killed


class OutOfTime(Exception):
    """The programs were stopped."""


class RunError(Exception):
    """The programs could not be run: the message, and the exit code that the command ends with."""

    def __init__(self, message, code):
        super().__init__(message)
        self.code = code


@dataclass
class Run:
    """One program on one implementation."""

    verdict: str
    reason: str
    recording: Recording

    def ended_badly(self):
        return self.verdict in ENDS


class Pools:
    def __init__(self, shardcts, folder, timeout, jobs):
        self._shardcts, self._folder = shardcts, folder
        self._timeout, self._jobs = timeout, jobs
        self._count = 0
        self._running = []  # commands

    def run(self, programs, implementations, end=None):
        """A list of {implementation: Run}, one for each program. All implementations run at the same time. `end`: when
        they are stopped, in the time of time.monotonic."""
        self._count += 1
        folder = os.path.join(self._folder, f"batch-{self._count}")
        scripts = os.path.join(folder, "scripts")
        os.makedirs(scripts)
        for index, program in enumerate(programs):
            with open(os.path.join(scripts, f"{index:05d}.json"), "w", encoding="utf-8") as file:
                json.dump(program.script(), file)
        self._running.clear()
        with ThreadPoolExecutor(len(implementations)) as threads:
            try:
                runs = list(threads.map(lambda item: self._one(programs, folder, end, *item), enumerate(implementations)))
            except BaseException:  # also of a signal: nothing goes on without us
                for started in self._running:
                    started.terminate()
                raise
        if None in runs:
            remove(folder)
            raise OutOfTime
        return [dict(zip(implementations, row)) for row in zip(*runs)], folder

    def _one(self, programs, folder, end, index, implementation):
        """Its runs, or None if it was stopped."""
        out = os.path.join(folder, str(index))
        command = [self._shardcts, "exec", os.path.join(folder, "scripts"), "--impl", implementation, "--out", out,
                   "--timeout", str(self._timeout), "--jobs", str(self._jobs), "--stop-after-hangs", "1000"]  # fmt: skip
        done = self._ended(command, end)
        if done is None:
            return None
        if done.returncode not in (0, 1, 3) or not os.path.exists(os.path.join(out, "results.json")):
            text = (done.stderr.strip().splitlines() or ["shardcts exec ended"])[-1].removeprefix("shardcts: ")
            scripts = re.escape(os.path.join(folder, "scripts"))
            text = re.sub(scripts + r"/(\d+)\.json", lambda found: programs[int(found[1])].place(), text)
            raise RunError(text, done.returncode if done.returncode in (2, 3) else 3)
        with open(os.path.join(out, "results.json"), encoding="utf-8") as file:
            summary = json.load(file)
        results = {test["id"]: test for test in summary["tests"]}
        cut = "layout.pytorch" in summary["implementations"][0]["capabilities"]
        return [self._run(results[f"scripts/{number:05d}"], out, program, cut) for number, program in enumerate(programs)]

    def _ended(self, command, end):
        """How the command ended, or None if it was stopped."""
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
            self._running.append(started)
            try:
                out, err = started.communicate(timeout=None if end is None else max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                started.terminate()  # it ends its ranks
                try:
                    started.communicate(timeout=STOPPING)
                except subprocess.TimeoutExpired:
                    started.kill()
                return None
        return subprocess.CompletedProcess(command, started.returncode, out, err)

    @staticmethod
    def _run(test, out, program, is_cut_as_pytorch):
        trace = os.path.join(out, test["trace"]) if test["trace"] else os.path.join(out, "nothing", "was", "recorded")
        return Run(test["verdict"], test["reason"], Recording(trace, program, is_cut_as_pytorch))


def remove(folder):
    shutil.rmtree(folder, ignore_errors=True)
