"""fairscale's FSDP on a CPU. It was written for CUDA: streams are stand-ins, and what relies on CUDA or NCCL is declared."""

import contextlib

import torch
from fairscale.internal import reduce_scatter_bucketer
from fairscale.nn.data_parallel import FullyShardedDataParallel
from fairscale.nn.data_parallel import fully_sharded_data_parallel as fsdp_module

PATCHES = [
    {"target": "torch.cuda in fairscale's fully_sharded_data_parallel", "reason": "streams that do nothing"},
    {"target": "torch.Tensor.record_stream", "reason": "a CPU has no streams"},
    {"target": "torch.Tensor.cpu in _gather_optim_state", "reason": "it is relied on to copy, as it does from CUDA"},
    {"target": "ENABLE_NCCL_BASE_COLLECTIVES=0", "reason": "gloo checks the shapes that a reduce_scatter has, NCCL does not"},
]


class Stream:
    """There is one on a CPU: nothing is to be waited for."""

    def wait_stream(self, other):
        pass

    def synchronize(self):
        pass

    def __eq__(self, other):
        return isinstance(other, Stream)

    __hash__ = None


class Cuda:
    Stream = Stream
    current_stream = Stream

    @staticmethod
    def is_available():
        return True

    @staticmethod
    def synchronize():
        pass

    @staticmethod
    def stream(stream):
        return contextlib.nullcontext()


class TorchOnCpu:
    """The name `torch` in fairscale's module."""

    cuda = Cuda

    def __getattr__(self, name):
        return getattr(torch, name)


def gather_with_copies(self, state, gather=FullyShardedDataParallel._gather_optim_state):
    cpu, torch.Tensor.cpu = torch.Tensor.cpu, torch.Tensor.clone
    try:
        return gather(self, state)
    finally:
        torch.Tensor.cpu = cpu


def apply_patches():
    fsdp_module.torch = TorchOnCpu()
    fsdp_module.enable_nccl_base_collectives = reduce_scatter_bucketer.enable_nccl_base_collectives = False
    torch.Tensor.record_stream = lambda tensor, stream: None
    FullyShardedDataParallel._gather_optim_state = gather_with_copies
