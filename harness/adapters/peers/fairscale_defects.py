"""Defects of fairscale 0.4.13's FullyShardedDataParallel that the suites led to, each alone, without ShardCTS:
`python fairscale_defects.py` shows them on three ranks. Exit code 1 when one does not show any more.
"""

import copy
import os
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing
from defects_on_ranks import error_of, show, start
from fairscale.nn.data_parallel import FullyShardedDataParallel
from fairscale_on_cpu import apply_patches
from torch import nn


def wrap(module: nn.Module, **options) -> FullyShardedDataParallel:
    return FullyShardedDataParallel(module, compute_device=torch.device("cpu"), **options)


def two_units() -> FullyShardedDataParallel:
    """The inner unit's parameters come first in the module that is wrapped."""
    return wrap(nn.Sequential(wrap(nn.Linear(2, 3)), nn.Linear(3, 4)))


def train(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 2, bias=False)
        self.second = nn.Linear(2, 2, bias=False)
        self.second.weight = self.first.weight

    def forward(self, values):
        return self.second(self.first(values))


class TwoNames(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = self.other = nn.Parameter(torch.ones(2))


class OneOfTwo(nn.Module):
    def __init__(self):
        super().__init__()
        self.unused, self.used = wrap(nn.Linear(2, 2)), wrap(nn.Linear(2, 2))

    def forward(self, values):
        return self.used(values)


def step_after_gather(folder: str) -> str:
    """_remove_uncollectable_params_from_optim_state_dict makes numbers of the steps in the optimizer itself, whose "state is
    not modified", as gather_full_optim_state_dict says; a second gather fails, too."""
    model = two_units()
    optimizer = torch.optim.Adam(model.parameters())
    train(model, optimizer)
    model.gather_full_optim_state_dict(optimizer)
    return error_of(lambda: train(model, optimizer))


def order_of_ids(folder: str) -> str:
    """build_unflat_state_dict numbers parameters in the order of units, outer ones first: not "as if FSDP was not there"."""
    shapes = [tuple(parameter.shape) for parameter in nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4)).parameters()]
    model = two_units()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    train(model, optimizer)
    gathered = [model.gather_full_optim_state_dict(optimizer)]
    dist.broadcast_object_list(gathered)
    found = [tuple(state["momentum_buffer"].shape) for state in gathered[0]["state"].values()]
    return "" if found == shapes else f"parameters {shapes}, state {found}"


def first_unit_without_state(folder: str) -> str:
    """_unflatten_optim_state asks for the counters of unit 0 whichever units have state, and gives them to all of them."""
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    module[0].requires_grad_(False)
    model = wrap(nn.Sequential(wrap(module[0]), wrap(module[1])))
    optimizer = torch.optim.Adam(model.parameters())
    train(model, optimizer)
    return error_of(lambda: model.gather_full_optim_state_dict(optimizer))


def gather_before_the_first_forward(folder: str) -> str:
    """gather_full_optim_state_dict prepares the root alone: sizes of inner units are not there after a load."""
    model = two_units()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return error_of(lambda: model.gather_full_optim_state_dict(optimizer))


def group_of_one_rank(folder: str) -> str:
    """_gather_optim_state takes the size of _full_param_padded, which only parameters of several ranks have."""
    groups = [dist.new_group([rank]) for rank in range(dist.get_world_size())]
    group = groups[dist.get_rank()]
    model = wrap(nn.Linear(2, 3), process_group=group, process_group_reduce_scatter=group)
    optimizer = torch.optim.Adam(model.parameters())
    train(model, optimizer)
    return error_of(lambda: model.gather_full_optim_state_dict(optimizer))


def group_without_rank_0(folder: str) -> str:
    """_broadcast_pad_info_to_r0 takes the rank in the group for the global one."""
    group = dist.new_group([1, 2])

    def gather():
        model = wrap(nn.Linear(2, 3), process_group=group, process_group_reduce_scatter=group)
        optimizer = torch.optim.Adam(model.parameters())
        train(model, optimizer)
        model.gather_full_optim_state_dict(optimizer)

    return error_of(gather if dist.get_rank() else lambda: None)


def values_after_evaluation(folder: str) -> str:
    """A forward leaves the root's parameters gathered; after a step the next forward takes them for the new ones."""
    model = two_units()
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    batch = torch.ones(1, 2)
    model(batch).sum().backward()
    with torch.no_grad():
        model(batch)
    optimizer.step()
    output = model(batch).detach()
    unsharded = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    unsharded.load_state_dict(model.state_dict())
    wrong = float((output - unsharded(batch)).abs().max())
    return f"the output is {wrong:.3f} away from that of the state dict" if wrong > 1e-5 else ""


def unused_unit(folder: str) -> str:
    """_wait_for_post_backward frees what a unit that has not run yet does not have."""
    model = wrap(OneOfTwo())
    return error_of(lambda: model(torch.ones(1, 2)).sum().backward())


def two_names_in_one_module(folder: str) -> str:
    """_init_flatten_params goes over named_parameters, which has each parameter once: the second name stays."""
    return error_of(lambda: wrap(TwoNames()))


def names_of_missing_keys(folder: str) -> str:
    """load_state_dict(strict=False) tells names that no state dict has."""
    model = two_units()
    state = model.state_dict()
    del state["0.weight"]
    missing = model.load_state_dict(state, strict=False).missing_keys
    return "" if missing == ["0.weight"] else str(missing)


def consolidated_tied_weights(folder: str) -> str:
    """consolidate_shard_weights copies tied weights of the last unit only, and looks for them without the unit's path."""
    model = wrap(nn.Sequential(wrap(Tied()), wrap(nn.Linear(2, 2))))
    both = [(model.local_state_dict(), model.local_metadata_dict())] * dist.get_world_size()
    dist.all_gather_object(both, copy.deepcopy(both[0]))
    weights, metadata = map(list, zip(*both, strict=True))
    lost = set(model.state_dict()) - set(FullyShardedDataParallel.consolidate_shard_weights(weights, metadata))
    return f"{sorted(lost)} of the state dict is lost" if lost else ""


def bfloat16_inputs(folder: str) -> str:
    """cast_floats_to_right_precision makes inputs float16 whatever compute_dtype is."""
    model = wrap(nn.Linear(2, 3), mixed_precision=True, compute_dtype=torch.bfloat16)
    return error_of(lambda: model(torch.ones(1, 2)))


def groups_of_the_last_start(folder: str) -> str:
    """get_process_group_cached keeps groups that destroy_process_group has destroyed."""
    rank, size = dist.get_rank(), dist.get_world_size()
    wrap(nn.Linear(2, 3))
    dist.destroy_process_group()
    start(rank, size, os.path.join(folder, "again"))
    model = wrap(nn.Linear(2, 3))
    optimizer = torch.optim.Adam(model.parameters())
    train(model, optimizer)
    return error_of(lambda: model.gather_full_optim_state_dict(optimizer))


DEFECTS = [step_after_gather, order_of_ids, first_unit_without_state, gather_before_the_first_forward, group_of_one_rank,
           group_without_rank_0, values_after_evaluation, unused_unit, two_names_in_one_module, names_of_missing_keys,
           consolidated_tied_weights, bfloat16_inputs, groups_of_the_last_start]


def rank_main(rank: int, folder: str) -> None:
    start(rank, 3, os.path.join(folder, "store"))
    apply_patches()
    show(DEFECTS, lambda defect: defect(folder))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(rank_main, (folder,), 3)
