"""The path of a GPU run without a GPU: libraries on the NCCL backend, over the emulator of NCCL."""

import pytest

from conftest import CACHED, SAVE_LOAD
from shardcts_reports.model import device_of

EMULATED = "reference,comm=nccl-emulator"


def test_the_reference_passes_on_the_emulator_and_no_result_is_a_gpu_result(run_shardcts):
    ended, run = run_shardcts(EMULATED, "--filter", SAVE_LOAD)
    assert (ended.code, run.verdicts) == (0, ["pass"]), ended
    assert run.document["run"]["environment"]["nccl"].endswith(" (emulator)")
    (implementation,) = run.document["implementations"]
    assert implementation["label"] == EMULATED
    assert device_of(implementation, run.document["run"]["environment"]).kind == "cpu"
    on_paper = dict(implementation, device="cuda"), dict(run.document["run"]["environment"], gpu="a GPU")
    assert device_of(*on_paper).kind == "emulated"


@pytest.mark.parametrize("fault, says", [("async_error@1:2", "remote process exited"), ("sync_error@1:2", "internal error")])
def test_an_error_of_nccl_fails_its_test_and_the_pool_lives_on(run_shardcts, monkeypatch, fault, says):
    monkeypatch.setenv("SHARDCTS_NCCL_EMULATOR_FAULT", fault)
    ended, run = run_shardcts(EMULATED, "--filter", CACHED.format(2))
    assert (run.verdicts, ended.code) == (["fail", "pass", "pass", "pass"], 1), ended
    assert says in run.tests[0]["reason"]
    assert [rank["verdict"] for rank in run.tests[0]["ranks"]] == ["aborted", "fail"]
    assert run.starts() == 1


def test_a_call_of_nccl_that_never_ends_is_a_hang(run_shardcts, monkeypatch):
    monkeypatch.setenv("SHARDCTS_NCCL_EMULATOR_FAULT", "stall@1:2")
    ended, run = run_shardcts(EMULATED, "--filter", SAVE_LOAD, "--timeout", "5")
    assert (run.complete, run.verdicts, ended.code) == (True, ["hang"], 1), ended
    assert "NcclCommunicator::" in run.tests[0]["reason"]


@pytest.mark.parametrize("options, says", [
    ("comm=gloo", "option comm=gloo: possible: mpi, nccl, nccl-emulator"),
    ("comm=nccl", "option comm=nccl carries tensors of device cuda, not of cpu"),
    ("device=cuda,comm=nccl-emulator", "option comm=nccl-emulator carries tensors of device cpu, not of cuda"),
])
def test_a_communicator_that_does_not_fit_is_one_line(shardcts, options, says):
    ended = shardcts("run", "--impl", f"reference,{options}", "--out", "out", "--filter", SAVE_LOAD)
    assert ended.code == 2, ended
    assert says in ended.err
    assert len(ended.err.strip().splitlines()) == 1, ended
