"""The option comm of --impl: which communicator a library is given."""

import pytest

from conftest import SAVE_LOAD


@pytest.mark.parametrize("options, says", [
    ("comm=gloo", "option comm=gloo: possible: local, mpi, nccl, staged, none"),
    ("comm=nccl-emulator", "option comm=nccl-emulator: possible: local, mpi, nccl, staged, none"),
    ("comm=nccl", "option comm=nccl carries tensors of device cuda, not of cpu"),
    ("device=cuda,comm=local", "option comm=local carries tensors of device cpu, not of cuda"),
    ("comm=staged", "option comm=staged carries tensors of any device but the CPU, not of cpu"),
    ("device=npu", "has no device of type npu; import=PATH.so names the library that brings it"),
    ("device=npu,comm=none", "reference: needs the harness's communicator"),
    ("device=npu,import=no_such.so", "option import=no_such.so: no such file"),
])
def test_a_communicator_that_does_not_fit_is_one_line(shardcts, options, says):
    ended = shardcts("run", "--impl", f"reference,{options}", "--out", "out", "--filter", SAVE_LOAD)
    assert ended.code == 2, ended
    assert says in ended.err
    assert len(ended.err.strip().splitlines()) == 1, ended
