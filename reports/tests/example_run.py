"""A small run made by code: every verdict once on `reference`, an oracle that passes, logs, parity, patches."""
import copy
import json
from pathlib import Path

from shardcts_reports.verdicts import VERDICTS

SUITE = "fully_shard_state_dict"
CLASS = "TestFullyShardStateDictMultiProcess"
LOG = "runs/reference/world-4/pool-0"

_ENVIRONMENT = {
    "os": "Linux 6.1", "cpu": "Example CPU", "cores": 2, "memory_gib": 23.5, "gpu": None, "driver": None,
    "mpi": "MPICH 4.0.2", "nccl": None, "torch": "2.13.0+cpu", "python": "3.11.2", "compiler": "gcc 12.2.0"}

_FAILURE = {"rank": 1, "check": "C9", "file": "suites/fully_shard_state_dict/dp_save_load.cc", "line": 88,
            "operation": "model.state_dict",
            "message": "1.0.in_proj.weight: index (3, 2): expected 0x1.8p+1 (3.0), got 0x1p+1 (2.0)\n"
                       "rank 1, 2 of 40 elements"}

_PARITY_BAD = {
    "against": "torch", "operations": 31, "tensors": 56, "identical": 52, "close": 2, "different": 1, "structural": 1,
    "first_difference": "step 12 model.state_dict, rank 1, 1.0.in_proj.weight: index (3, 2): 2.0 against 3.0",
    "details": [
        {"step": 12, "op": "model.state_dict", "rank": 1, "path": "1.0.in_proj.weight", "kind": "different",
         "message": "index (3, 2): 2.0 against 3.0; 2 of 40 elements differ"},
        {"step": 14, "op": "tensor.full", "rank": 0, "path": "", "kind": "close",
         "message": "largest relative difference 1.2e-07 at index (0, 7)"},
        {"step": 20, "op": "model.load_state_dict", "rank": 0, "path": "missing_keys", "kind": "structural",
         "message": "[] against ['2.out_proj.bias']"}]}

_WAIVER = {
    "place": "waivers.toml:3", "test": "fully_shard_state_dict/*", "implementation": "reference", "device": "cpu",
    "verdict": "fail", "checks": ["C9"], "reason_contains": None, "owner": "core team",
    "reason": "exp_avg is overwritten", "evidence": "docs/deviations.md", "expires": "2026-12-31",
    "review_version": "2.15"}

_PARITY_SAME = {"against": "torch", "operations": 31, "tensors": 56, "identical": 56, "close": 0, "different": 0,
                "structural": 0, "first_difference": None, "details": []}

_REASONS = {
    "fail": "C9 failed on rank 1", "advice": "C9 failed on rank 1", "incomplete": "C2 was not evaluated",
    "not_supported": "capability tp is not declared",
    "not_applicable": "16 % world_size != 0", "waived": "exp_avg is overwritten (waived by core team until 2026-12-31, waivers.toml:3); fail: C9 failed on rank 1",
    "unexpected_pass": "passed, but waiver waivers.toml:3 of core team says that it fails; remove it", "crash": "rank 2 ended with signal 11 (SIGSEGV)",
    "hang": "no answer within 30 s, ranks 0 and 3 wait in model.state_dict",
    "diverged": "rank 1 ran model.wrap at step 7, the others model.forward",
    "harness_error": "event file of rank 0 ends inside a line", "not_run": "pool 1 did not start"}


def make_test(label: str, verdict: str, function: str = "test_dp_state_dict_save_load", mlp_dim: int = 2,
              world_size: int = 4) -> dict:
    """One result as the runner writes it."""
    params = {"mesh": "1-D", "mlp_dim": mlp_dim}
    test_id = f"{SUITE}/{CLASS}.{function}/world_size={world_size},mesh=1-D,mlp_dim={mlp_dim}"
    ran = verdict not in ("not_run", "not_supported", "not_applicable")
    return {
        "id": test_id, "suite": SUITE, "upstream_id": f"{CLASS}.{function}", "upstream_function": function,
        "level": "SHOULD" if verdict == "advice" else None, "implementation": label,
        "world_size": world_size, "params": params, "capabilities": ["fsdp2", "dtensor"] if mlp_dim % 2 else ["fsdp2"],
        "verdict": verdict, "reason": _REASONS.get(verdict, ""),
        "seconds": 0.125 if ran else 0.0, "checks": _checks(verdict, ran, world_size),
        "failures": [copy.deepcopy(_FAILURE)] if verdict in ("fail", "advice", "waived") else [],
        "parity": _parity(label, verdict), "waiver": _waiver(verdict), "flaky": False, "repetitions": [],
        "ranks": [{"rank": rank, "verdict": _rank_verdict(verdict, rank), "seconds": 0.12, "reason": ""}
                  for rank in range(world_size)] if ran else [],
        "log": LOG.replace("reference", label) if ran else None,
        "trace": f"traces/{label}/{test_id.replace('/', '_').replace(',', '_')}" if ran else None,
        "reproduce": f"shardcts run --impl {label} --filter '{test_id}' --seed 1234 --out out"}


def make_phased_test(label: str, loads: str = "pass", loader: str | None = None) -> dict:
    """One that saves on 2 ranks and loads on 3; `loads`: the verdict of the second phase, which `loader` runs."""
    def phase(role, size, verdict, implementation):
        return {"role": role, "world_size": size, "params": {}, "implementation": implementation, "verdict": verdict,
                "reason": _REASONS.get(verdict, ""), "seconds": 0.0625, "log": LOG.replace("world-4", f"world-{size}"),
                "ranks": [{"rank": rank, "verdict": verdict, "seconds": 0.06, "reason": ""} for rank in range(size)]}
    test = make_test(label, loads, mlp_dim=40, world_size=3)
    test["id"] = test["id"].replace("world_size=3", "save=2,load=3")
    phases = [phase("save", 2, "pass", label), phase("load", 3, loads, loader or label)]
    test.update(phases=phases, ranks=phases[1]["ranks"], log=phases[1]["log"], folder=None)
    return test


def make_run() -> dict:
    """results.json of a run in which `reference` shows every verdict and `torch` passes."""
    tests = []
    for index, verdict in enumerate(VERDICTS):
        function = "test_dp_state_dict_save_load" if index < 6 else "test_cached_state_dict"
        tests.append(make_test("reference", verdict, function, mlp_dim=index + 2))
        tests.append(make_test("torch", "pass", function, mlp_dim=index + 2))
    return finish(tests)


def make_green_run() -> dict:
    return finish([make_test(label, "pass", mlp_dim=dim) for dim in (2, 3) for label in ("reference", "torch")])


def finish(tests: list[dict]) -> dict:
    """The document around these results."""
    labels = list(dict.fromkeys(test["implementation"] for test in tests))
    return {
        "schema_version": 1, "complete": True,
        "run": {"command": "shardcts run --impl reference --impl torch --out out", "seed": 1234,
                "suite_commit": "0123456789abcdef", "started": "2026-01-31T12:00:00Z", "seconds": 12.34,
                "pool": "shared", "repeat": 1, "require": [], "waivers": [], "environment": dict(_ENVIRONMENT)},
        "implementations": [_implementation(label) for label in labels],
        "summary": {label: _counts(test["verdict"] for test in tests if test["implementation"] == label)
                    for label in labels},
        "suites": [{"name": SUITE, "functions": 7, "instances": 7, "ids": 85, "checks": 59, "unreached": 5}],
        "pools": [{"implementation": label, "world_size": 4, "starts": 1, "start_seconds": [3.2], "problems": []}
                  for label in labels],
        "tests": tests}


def write_run(folder: Path, document: dict) -> Path:
    """Writes results.json and the rank logs; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(document), encoding="utf-8")
    for rank in range(4):
        log = folder / LOG / f"rank-{rank}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("".join(f"rank {rank} line {line}\n" for line in range(1, 131)))
    return folder


def _counts(verdicts) -> dict[str, int]:
    found = list(verdicts)
    return {verdict: found.count(verdict) for verdict in VERDICTS}


def _implementation(label: str) -> dict:
    torch = label == "torch"
    return {
        "label": label, "name": "PyTorch" if torch else "ShardCTS reference",
        "version": "2.13.0+cpu" if torch else "0.1.0", "source": label, "device": "cpu",
        "options": {"backend": "gloo"} if torch else {}, "mutant": None,
        "capabilities": ["core", "dtensor", "fsdp2", "hsdp", "tp", "cpu_offload_policy", "meta_device", "optimizer"],
        "patches": [{"target": "torch.cpu.Stream.synchronize",
                     "reason": "missing on the CPU; FSDP with CPU offload calls it after backward"}] if torch else [],
        "notes": {}}


def _checks(verdict: str, ran: bool, world_size: int) -> dict:
    expected = ["C1", "C2", "C3", "C9", "C10"]
    if not ran:
        return {"expected": expected, "evaluated": {}, "missing": [], "device_limited": {}}
    evaluated = {check: {"evaluated": 14 * world_size, "strict": 7 * world_size if check == "C9" else 0, "failed": 0,
                         "ranks": list(range(world_size))} for check in expected if check != "C10"}
    missing = []
    if verdict == "incomplete":
        del evaluated["C2"]
        missing = ["C2"]
    if verdict in ("fail", "advice", "waived"):
        evaluated["C9"]["failed"] = 1
    return {"expected": expected, "evaluated": evaluated, "missing": missing,
            "device_limited": {"C10": "needs CUDA memory statistics"}}


def _waiver(verdict: str) -> dict | None:
    """With what came of it."""
    if verdict == "waived":
        return _WAIVER | {"found": "fail", "found_reason": "C9 failed on rank 1", "problem": None}
    if verdict == "unexpected_pass":
        return _WAIVER | {"found": "pass", "found_reason": "", "problem": "the test passed"}
    return None


def make_flaky(test: dict, *verdicts: str) -> dict:
    """The same result, come to by repetitions with these verdicts."""
    repetitions = [{"verdict": verdict, "reason": f"why {verdict}", "seconds": 0.5, "log": LOG, "trace": None}
                   for verdict in verdicts]
    return test | {"flaky": len(set(verdicts)) > 1, "repetitions": repetitions,
                   "reason": f"flaky: {', '.join(verdicts)}"}


def _parity(label: str, verdict: str) -> dict | None:
    if label == "torch" or verdict not in ("pass", "fail", "incomplete", "waived", "unexpected_pass"):
        return None
    return copy.deepcopy(_PARITY_BAD if verdict == "fail" else _PARITY_SAME)


def _rank_verdict(verdict: str, rank: int) -> str:
    if verdict == "fail":
        return "fail" if rank == 1 else "aborted"
    return verdict
