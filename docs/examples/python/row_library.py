"""A library with sharding code of its own, as small as one can be: every rank keeps some rows of each parameter.

    model = shard(model)        # forward gathers, backward averages gradients and keeps this rank's rows
    saved = state_dict(model)   # this rank's part: {name: Rows or plain tensor}
    load_state_dict(model, saved)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

__version__ = "0.3"


@dataclass(frozen=True)
class Rows:
    """This rank's rows of a tensor."""

    local: torch.Tensor
    shape: torch.Size  # of the whole tensor


class RowParameter(nn.Parameter):
    """This rank's rows as a parameter, which optimizers see."""

    shape_of_all: torch.Size

    def __new__(cls, local: torch.Tensor, shape: torch.Size, requires_grad: bool):
        made = torch.Tensor._make_subclass(cls, local, requires_grad)
        made.shape_of_all = shape
        return made

    def __deepcopy__(self, memo: dict):
        if id(self) not in memo:
            memo[id(self)] = RowParameter(self.detach().clone(), self.shape_of_all, self.requires_grad)
        return memo[id(self)]


def rows_of(whole: torch.Tensor) -> torch.Tensor:
    """Rank r of n has the r-th of n chunks of ceil(rows / n) rows; later ones may be short or empty."""
    begin = min(_rows_per_rank(whole.shape) * dist.get_rank(), len(whole))
    return whole[begin:begin + _rows_per_rank(whole.shape)]


def shard(module: nn.Module) -> None:
    """*Collective.* Replaces all parameters at and below the module that are not sharded yet."""
    made: dict[nn.Parameter, RowParameter] = {}
    for owner in module.modules():
        for name, parameter in owner._parameters.items():
            if parameter is None or isinstance(parameter, RowParameter):
                continue
            if parameter.dim() == 0:
                raise ValueError(f"{name}: a scalar has no rows")
            if parameter not in made:
                rows = rows_of(parameter.detach()).clone()
                made[parameter] = RowParameter(rows, parameter.shape, parameter.requires_grad)
            owner._parameters[name] = made[parameter]
            _gather_on_access(owner, name)


def state_dict(module: nn.Module) -> dict:
    parameters = dict(module.named_parameters(remove_duplicate=False))
    return {name: _saved(parameters.get(name), value) for name, value in module.state_dict().items()}


def load_state_dict(module: nn.Module, saved: dict, strict: bool = True):
    """Raises RuntimeError as torch.nn.Module does, on every rank for rows of a tensor of another shape."""
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if isinstance(parameter, RowParameter) and name in saved:
            shape = saved[name].shape if isinstance(saved[name], Rows) else "one that is not cut into rows"
            if shape != parameter.shape_of_all:
                raise RuntimeError(f"{name}: size mismatch: {shape}, needed {parameter.shape_of_all}")
    local = {name: value.local if isinstance(value, Rows) else value for name, value in saved.items()}
    return module.load_state_dict(local, strict=strict)


def _saved(parameter: nn.Parameter | None, value: torch.Tensor) -> Rows | torch.Tensor:
    return Rows(value, parameter.shape_of_all) if isinstance(parameter, RowParameter) else value


def _rows_per_rank(shape: torch.Size) -> int:
    return -(-shape[0] // dist.get_world_size())


def _gather_on_access(owner: nn.Module, name: str) -> None:
    """The module's own code sees the whole tensor, everybody else the rows in _parameters."""
    kind = type(owner)
    gathered = property(lambda self: _Gather.apply(self._parameters[name], self._parameters[name].shape_of_all))
    owner.__class__ = type(kind.__name__, (kind,), {name: gathered, "__module__": kind.__module__})


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, local: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        rows, ranks = _rows_per_rank(shape), dist.get_world_size()
        padded = local.new_zeros(rows, *shape[1:])
        padded[:len(local)] = local
        whole = local.new_empty(rows * ranks, *shape[1:])
        dist.all_gather_into_tensor(whole, padded)
        return whole[:shape[0]]

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        summed = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return rows_of(summed) / dist.get_world_size(), None
