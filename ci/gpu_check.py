"""What ci/gpu_check.sh does: a build, nccl_gpu_test, and the suites on a device that ranks share, in limited time."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import gpu_check_parts as parts

ROOT = Path(__file__).resolve().parent.parent
GREEN = {"pass", "advice", "not_applicable", "waived", "not_supported"}
WORLDS = (1, 2, 4)
FAILURES_SHOWN = 10
# Where ranks share a device, PyTorch's default backend may refuse: NCCL wants a GPU for each rank.
SHARING_BACKEND = {"cpu": "local", "hostdev": "hostlocal"}
TARGETS = ("installed", "nccl_gpu_test")


class Refused(Exception):
    """The command or the machine is wrong; one line."""


@dataclass
class Row:
    what: str
    seconds: float
    outcome: str  # ok, fails, no time
    detail: str = ""
    failures: list[str] = field(default_factory=list)


class Clock:
    """The seconds that are left of the limit."""

    def __init__(self, limit: float):
        self._end = time.monotonic() + limit

    def left(self) -> float:
        return self._end - time.monotonic()


def call(words: list, log: Path, seconds: float, **environment) -> tuple[int | None, float]:
    """(exit code, seconds). None: interrupted at its limit; the program may then finish what it writes."""
    begin = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        process = subprocess.Popen([str(word) for word in words], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT,
                                   env={**os.environ, "NO_COLOR": "1", **environment}, start_new_session=True)
        try:
            return process.wait(max(seconds, 0.1)), time.monotonic() - begin
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return None, time.monotonic() - begin


def machine(device: str, module: str) -> list[str]:
    """Lines about what is here. Raises Refused without PyTorch or without the device."""
    try:
        import torch
    except ImportError as error:
        raise Refused(f"{sys.executable} has no PyTorch: {error} (SHARDCTS_PYTHON)") from error
    version = tuple(int(number) for number in re.findall(r"\d+", torch.__version__)[:2])
    if version < (2, 11):
        raise Refused(f"PyTorch {torch.__version__}: 2.11 or newer is needed")
    lines = [f"PyTorch {torch.__version__}, CUDA {torch.version.cuda or 'none'}, Python {sys.version.split()[0]}"]
    if module:
        try:
            __import__(module)
        except Exception as error:
            raise Refused(f"module {module} cannot be imported: {type(error).__name__}: {error}") from error
    if device in ("cpu", "hostdev"):
        return [*lines, f"device {device}: no result of a GPU"]
    found = torch.accelerator.current_accelerator(check_available=True)
    if found is None or found.type != device:
        raise Refused(f"no {device} device here: PyTorch finds {found.type if found else 'none'}")
    of_type = getattr(torch, device, None)
    name = of_type.get_device_name(0) if hasattr(of_type, "get_device_name") else device
    return [*lines, f"device {name}, {torch.accelerator.device_count()} there"]


def last_words(log: Path) -> str:
    """The line of a log that says what went wrong, or its last one."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    at_error = [number for number, line in enumerate(lines) if re.search(r"CMake Error|\berror:|FAILED", line)]
    return " ".join(lines[at_error[0]:at_error[0] + 2] if at_error else lines[-1:])[:300]


def build(options, clock: Clock) -> Row:
    tools = parts.Tools(options.parts, options.out / "tools")
    configure = [tools.program("cmake"), "-S", ROOT, "-B", options.build, "-G", "Ninja",
                 f"-DCMAKE_MAKE_PROGRAM={tools.program('ninja')}", "-DCMAKE_BUILD_TYPE=Release",
                 "-DCMAKE_CXX_FLAGS_RELEASE=-O1", f"-DSHARDCTS_PYTHON={sys.executable}",
                 *tools.third_party(), *tools.cuda_headers()]
    log = options.out / "build.log"
    code, spent = call(configure, log, clock.left())
    if code != 0:
        raise Refused(f"cannot be built: {last_words(log)} (all of it: {log})")
    targets = [target for target in TARGETS if target != "nccl_gpu_test" or not tools.lacks_nccl(options.build)]
    code, more = call([tools.program("cmake"), "--build", options.build, "--target", *targets], log, clock.left())
    if code is None:
        return Row("build", spent + more, "no time", "continue with the same --build")
    if code != 0:
        raise Refused(f"cannot be built: {last_words(log)} (all of it: {log})")
    return Row("build", spent + more, "ok", f"{os.cpu_count()} processors")


def nccl(options, clock: Clock) -> Row:
    """The communicator's tests at world 1, on the GPU; on other devices the emulator of NCCL takes its place."""
    program = options.build / "nccl_gpu_test"
    on_emulator = options.device != "cuda"
    what = "nccl_gpu_test, world 1" + (" (emulator)" if on_emulator else "")
    if not program.exists():
        return Row(what, 0, "fails" if not on_emulator else "ok", "not built: no headers of NCCL")
    log = options.out / "nccl_gpu_test.log"
    environment = {"SHARDCTS_NCCL_GPU_TEST": "emulator"} if on_emulator else {}
    code, spent = call([program, "--ranks", 1], log, min(clock.left(), 120), **environment)
    text = log.read_text(errors="replace")
    passed = re.search(r"\[  PASSED  \] (\d+) test", text)
    if code is None:
        return Row(what, spent, "no time")
    skipped = re.search(r"skipped: (.*)", text)
    if code != 0 or not passed or skipped:
        return Row(what, spent, "fails", skipped[0] if skipped else last_words(log))
    return Row(what, spent, "ok", f"{passed[1]} passed")


def implementation(options, name: str, world: int) -> str:
    spec = f"{name},device={options.device}" if options.device != "cpu" else name
    if options.module:
        spec += f",import={options.module}" if name == "torch" else ""
    if world == 1:
        return spec
    shared = options.device != "cpu"
    if name == "reference":
        return spec + (",comm=staged" if shared else "")
    return spec + (",share=yes" if shared else "") + f",backend={SHARING_BACKEND.get(options.device, 'local')}"


def suites(options, name: str, world: int, clock: Clock) -> Row:
    spec = implementation(options, name, world)
    what = f"{spec}, world {world}"
    if clock.left() < options.least:
        return Row(what, 0, "no time")
    folder = options.out / f"{name}-{world}"
    shutil.rmtree(folder, ignore_errors=True)
    words = [options.build / "shardcts", "run", "--impl", spec, "--world", world, "--out", folder, "--trace", "digest"]
    for pattern in options.filter:
        words += ["--filter", pattern]
    log = options.out / f"{name}-{world}.log"
    environment = {"SHARDCTS_PYTHON": sys.executable, "SHARDCTS_HOSTDEV_DEVICES": "1"}  # one, as here
    code, spent = call(words, log, clock.left(), **environment)
    try:
        tests = json.loads((folder / "results.json").read_text())["tests"]
    except (OSError, ValueError, KeyError):
        return Row(what, spent, "no time" if code is None else "fails", last_words(log))
    counts = Counter(test["verdict"] for test in tests)
    detail = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items(), key=lambda item: -item[1]))
    failures = [f"{test['verdict']} {test['id']}: {test['reason']}" for test in tests
                if test["verdict"] not in GREEN | {"not_run"}]
    if code is None or counts["not_run"]:
        return Row(what, spent, "no time", detail, failures)
    return Row(what, spent, "ok" if code == 0 else "fails", detail, failures)


def table(rows: list[Row]) -> str:
    width = max(len(row.what) for row in rows)
    lines = [f"{'what':{width}}  seconds  outcome  detail"]
    lines += [f"{row.what:{width}}  {row.seconds:7.1f}  {row.outcome:7}  {row.detail}".rstrip() for row in rows]
    for row in rows:
        lines += [f"  {row.what}: {line}" for line in row.failures[:FAILURES_SHOWN]]
        if len(row.failures) > FAILURES_SHOWN:
            lines.append(f"  {row.what}: {len(row.failures) - FAILURES_SHOWN} more")
    return "\n".join(lines)


def check(options) -> int:
    clock = Clock(options.limit)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.build and not (options.build / "CMakeCache.txt").exists() and not options.parts.exists():
        print(f"gpu_check: nothing was prepared ({options.parts}); what the machine lacks is fetched", flush=True)
    sys.path.insert(0, str(options.build / "python"))
    print("\n".join(machine(options.device, options.module)), flush=True)
    steps = [lambda: nccl(options, clock)]
    steps += [lambda name=name, world=world: suites(options, name, world, clock)
              for world in options.world for name in ("torch", "reference")]
    rows = [] if options.no_build else [build(options, clock)]
    if not rows or rows[0].outcome == "ok":
        for step in steps:
            rows.append(step())
            print(f"{rows[-1].what}: {rows[-1].outcome}", flush=True)
    text = table(rows)
    (options.out / "table.txt").write_text(text + "\n")
    print(text)
    outcomes = {row.outcome for row in rows}
    return 1 if "fails" in outcomes else 3 if "no time" in outcomes else 0


def arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ci/gpu_check.sh", description=__doc__)
    parser.add_argument("--prepare", action="store_true", help="collect in --parts what a bare machine may lack")
    parser.add_argument("--device", default="cuda", metavar="TYPE",
                        help="device type of PyTorch; cpu and hostdev try the script")
    parser.add_argument("--import", default="", dest="module", metavar="MODULE", help="what brings the device type")
    parser.add_argument("--limit", type=float, default=560, metavar="SECONDS",
                        help="for everything (default %(default)s)")
    parser.add_argument("--least", type=float, default=20, metavar="SECONDS",
                        help="with less left, no further run begins")
    parser.add_argument("--world", type=int, nargs="+", default=WORLDS, choices=WORLDS)
    parser.add_argument("--filter", action="append", default=[], metavar="PATTERN", help="of `shardcts run`")
    parser.add_argument("--build", type=Path, default=ROOT / "build-gpu-check", metavar="DIR")
    parser.add_argument("--no-build", action="store_true", help="--build DIR is built already")
    parser.add_argument("--parts", type=Path, default=ROOT / "out/gpu-check-parts", metavar="DIR")
    parser.add_argument("--out", type=Path, default=ROOT / "out/gpu-check", metavar="DIR")
    options = parser.parse_args(words)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", options.device):
        raise Refused(f"--device '{options.device}': not a device type")
    if not options.limit > 0:
        raise Refused(f"--limit {options.limit:g}: not a time")
    if options.no_build and not (options.build / "shardcts").exists():
        raise Refused(f"--no-build: there is no shardcts in {options.build}")
    for name in ("build", "parts", "out"):
        setattr(options, name, getattr(options, name).absolute())
    return options


def main() -> int:
    try:
        options = arguments(sys.argv[1:])
        return parts.prepare(options.parts) if options.prepare else check(options)
    except (Refused, parts.Missing) as refused:
        print(f"gpu_check: {refused}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
