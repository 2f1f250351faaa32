"""The option comm of --impl: which communicator a library is given."""

import pytest

from conftest import SAVE_LOAD


@pytest.mark.parametrize("options, says", [
    ("comm=gloo", "option comm=gloo: possible: local, mpi, nccl, none"),
    ("comm=nccl-emulator", "option comm=nccl-emulator: possible: local, mpi, nccl, none"),
    ("comm=nccl", "option comm=nccl carries tensors of device cuda, not of cpu"),
    ("device=cuda,comm=local", "option comm=local carries tensors of device cpu, not of cuda"),
    ("device=npu", "no communicator of ours carries tensors of device npu"),
    ("device=npu,comm=none", "reference: runs on cpu, not on npu"),
])
def test_a_communicator_that_does_not_fit_is_one_line(shardcts, options, says):
    ended = shardcts("run", "--impl", f"reference,{options}", "--out", "out", "--filter", SAVE_LOAD)
    assert ended.code == 2, ended
    assert says in ended.err
    assert len(ended.err.strip().splitlines()) == 1, ended
