"""A library that cuts its rows otherwise than PyTorch: the last ranks have one more, 5 = 2 + 3. `wrong=values` seeds a bug
that no layout shows: one element of what is saved."""

import dataclasses

import own_sharding
import row_library
import torch
import torch.distributed as dist
from own_sharding import OwnSharding, RowConversion, Rows
from shardcts import operation
from shardcts.values import DTensorValue


def sizes_of(rows):
    """Of each rank."""
    ranks = dist.get_world_size()
    return [rows // ranks + (rank >= ranks - rows % ranks) for rank in range(ranks)]


def rows_of(whole):
    return whole.split(sizes_of(len(whole)))[dist.get_rank()]


class Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, local, shape):
        return gathered(local, shape)

    @staticmethod
    def backward(ctx, gradient):
        summed = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return rows_of(summed) / dist.get_world_size(), None


def gathered(local, shape):
    """*Collective.* The whole tensor."""
    most = max(sizes_of(shape[0]))
    padded = local.new_zeros(most, *shape[1:])
    padded[:len(local)] = local
    parts = [torch.empty_like(padded) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes_of(shape[0]))])


class CutConversion(RowConversion):
    """DTensors that a test gives are cut as those that it got."""

    def to_torch(self, value):
        if isinstance(value, DTensorValue):
            local = value.local.requires_grad_(value.requires_grad) if value.requires_grad else value.local
            return Rows(local, torch.Size(value.shape))
        return super().to_torch(value)


class OtherCut(OwnSharding):
    capabilities = [name for name in OwnSharding.capabilities if name != "layout.pytorch"]
    conversion = CutConversion

    def __init__(self, rank, world_size, device, options):
        row_library.rows_of, row_library._Gather = rows_of, Gather
        self._wrong = options.pop("wrong", "")
        if options.pop("declares", "") == "layout":
            self.capabilities = OwnSharding.capabilities
        super().__init__(rank, world_size, device, options)

    def state_dict(self, module, prefix=""):
        saved = super().state_dict(module, prefix)
        if self._wrong == "values":
            last = [value for value in saved.values() if isinstance(value, Rows) and value.local.numel()][-1:]
            for value in last:
                value.local.view(-1)[-1] += 1
        return saved

    def load_optimizer_state(self, optimizer, state_dict):
        states = {index: {name: value.local if isinstance(value, Rows) else value for name, value in state.items()}
                  for index, state in state_dict["state"].items()}
        super().load_optimizer_state(optimizer, {**state_dict, "state": states})

    @operation("tensor.full")
    def tensor_full(self, value):
        return each(value, lambda entry: gathered(entry.local.detach(), torch.Size(entry.shape)))

    @operation("tensor.distribute")
    def tensor_distribute(self, value, mesh, placements):
        return self.tensors.to_value(Rows(rows_of(value).clone(), value.shape))

    @operation("tensor.clone")
    def tensor_clone(self, value):
        with_own_storage = lambda entry: dataclasses.replace(entry, local=entry.local.detach().clone(),
                                                              is_parameter=False, requires_grad=False)
        return each(value, with_own_storage, super().tensor_clone)

    @operation("tensor.fill")
    def tensor_fill(self, value, scalar):
        each(value, lambda entry: entry.local.detach().fill_(scalar), lambda entry: super(OtherCut, self).tensor_fill(entry, scalar))


def each(value, of_rows, otherwise=lambda entry: entry):
    """Entries that are rows, and all others."""
    if isinstance(value, dict):
        return {key: each(entry, of_rows, otherwise) for key, entry in value.items()}
    return of_rows(value) if isinstance(value, DTensorValue) else otherwise(value)


own_sharding.given = lambda value: value
