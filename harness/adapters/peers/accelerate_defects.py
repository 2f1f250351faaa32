"""Defects of accelerate 1.15.0 that the suites found, each alone: `python accelerate_defects.py` shows them on two ranks.

Exit code 1 when one does not show any more.
"""

import os
import tempfile
from types import SimpleNamespace

import torch
import torch.distributed as dist
import torch.multiprocessing
from accelerate.utils import FullyShardedDataParallelPlugin, fsdp_utils
from defects_on_ranks import of_all, show, start
from torch import nn
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module


def prepare(model: nn.Module) -> nn.Module:
    """Accelerator.prepare with cpu_ram_efficient_loading."""
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, cpu_ram_efficient_loading=True)
    accelerator = SimpleNamespace(state=SimpleNamespace(fsdp_plugin=plugin), device=torch.device("cpu"),
                                  is_main_process=dist.get_rank() == 0, mixed_precision="no", torch_device_mesh=None)
    return fsdp_utils.fsdp2_prepare_model(accelerator, model)


def parameter_of_the_root() -> str:
    """A name without a dot is split at its dot, because get_parameter_or_buffer is no method of torch.nn.Module."""
    try:
        prepare(nn.Linear(4, 4))
    except ValueError as error:
        return str(error)
    return ""


def persistent_buffer() -> str:
    """Every entry of the state dict is taken for a DTensor."""
    try:
        prepare(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)))
    except AttributeError as error:
        return str(error)
    return ""


def tied_weights() -> str:
    """The load by assignment gives each name a parameter of its own, where the model has no method tie_weights."""
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    prepare(model)
    return "" if model[1].weight is model[0].weight else "two parameters where there was one"


def tensor_parallel_shard() -> str:
    """Rank 0's shard of a DTensor is sent as the whole tensor: the other ranks' values are lost."""
    model = nn.Sequential(nn.Linear(4, 4, bias=False))
    mesh = dist.init_device_mesh("cpu", (1, 2), mesh_dim_names=("fsdp", "tp"))
    parallelize_module(model, mesh["tp"], {"0": ColwiseParallel()})
    whole = model[0].weight.full_tensor().detach().clone()
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, cpu_ram_efficient_loading=True)
    accelerator = SimpleNamespace(
        state=SimpleNamespace(fsdp_plugin=plugin), device=torch.device("cpu"), is_main_process=dist.get_rank() == 0,
        mixed_precision="no", torch_device_mesh={("fsdp",): mesh["fsdp"]},
        parallelism_config=SimpleNamespace(fsdp_dim_names=("fsdp",)))
    problem = ""
    try:
        fsdp_utils.fsdp2_prepare_model(accelerator, model)
    except RuntimeError as error:
        problem = str(error)
    problems = of_all(problem)  # gathering the weight needs all ranks
    if any(problems):
        return next(filter(None, problems))
    loaded = model[0].weight.full_tensor()
    return "" if torch.equal(loaded, whole) else f"{int((loaded != whole).sum())} of {whole.numel()} values differ"


DEFECTS = [parameter_of_the_root, persistent_buffer, tied_weights, tensor_parallel_shard]


def rank_main(rank: int, store: str) -> None:
    start(rank, 2, store)
    show(DEFECTS, lambda defect: defect())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(rank_main, (os.path.join(folder, "store"),), 2)
