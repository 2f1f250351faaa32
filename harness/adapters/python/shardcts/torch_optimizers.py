"""Operations on optimizers and their own, local state dicts."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch import nn
from torch.distributed.optim import _NamedOptimizer
from torch.optim.lr_scheduler import LambdaLR

from shardcts import torch_modules
from shardcts.adapter import operation
from shardcts.state_optimizers import GlobalState, NestedState
from shardcts.values import Handle

_KINDS = {
    "sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop, "nadam": torch.optim.NAdam, "radam": torch.optim.RAdam, "asgd": torch.optim.ASGD,
    "adamax": torch.optim.Adamax, "adadelta": torch.optim.Adadelta, "nested_state": NestedState,
    "global_state": GlobalState,
}


class OptimizerOperations:
    @operation("optimizer.create")
    def optimizer_create(
        self,
        model: Handle,
        kind: str,
        options: dict | None = None,
        groups: list[dict] | None = None,
        named: bool = False,
    ) -> Handle:
        module = self.model_of(model)
        optimizer_class = _KINDS[kind]
        arguments = _arguments(optimizer_class, options or {})
        inputs = None if groups is None else [_group(module, optimizer_class, group) for group in groups]
        if named:
            optimizer = _NamedOptimizer(module.named_parameters(), optimizer_class, inputs, module, **arguments)
        else:
            optimizer = self.make_optimizer(module, optimizer_class, inputs, arguments)
        return self.handles.add("optimizer", optimizer)

    def make_optimizer(
        self, module: nn.Module, optimizer_class: type, groups: list[dict] | None, arguments: dict
    ) -> torch.optim.Optimizer:
        """Over all parameters of the module, or groups of them in PyTorch's form."""
        return optimizer_class(module.parameters() if groups is None else groups, **arguments)

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict:
        """The optimizer's state dict, as the library of the adapter takes it."""
        return with_clean_names(optimizer, optimizer.state_dict())

    def load_optimizer_state(self, optimizer: torch.optim.Optimizer, state_dict: dict) -> None:
        """The other way."""
        optimizer.load_state_dict(with_current_names(optimizer, state_dict))

    @operation("optimizer.schedule")
    def optimizer_schedule(self, optimizer: Handle, kind: str, factor: float, epoch: int = 0) -> None:
        found = self.optimizer_of(optimizer)
        found.shardcts_schedule = LambdaLR(found, lambda epoch: factor**epoch, last_epoch=epoch - 1)

    @operation("optimizer.advance_schedule")
    def optimizer_advance_schedule(self, optimizer: Handle) -> None:
        schedule = getattr(self.optimizer_of(optimizer), "shardcts_schedule", None)
        if schedule is None:
            raise ValueError("the optimizer has no schedule")
        schedule.step()

    @operation("optimizer.hook_runs")
    def optimizer_hook_runs(self, optimizer: Handle) -> dict:
        found = self.optimizer_of(optimizer)
        if not hasattr(found, "shardcts_hook_runs"):
            found.shardcts_hook_runs = {"before": 0, "after": 0}
            found.register_step_pre_hook(lambda *_: _count(found, "before"))
            found.register_step_post_hook(lambda *_: _count(found, "after"))
        return dict(found.shardcts_hook_runs)

    @operation("optimizer.step")
    def optimizer_step(self, optimizer: Handle) -> None:
        self.optimizer_of(optimizer).step()

    @operation("optimizer.zero_grad")
    def optimizer_zero_grad(self, optimizer: Handle) -> None:
        found = self.optimizer_of(optimizer)
        # A named optimizer has no zero_grad that works: it lacks what the base class's constructor sets.
        (found._optimizer if isinstance(found, _NamedOptimizer) else found).zero_grad()

    @operation("optimizer.init_state")
    def optimizer_init_state(self, optimizer: Handle) -> None:
        found = self.optimizer_of(optimizer)
        for group in found.param_groups:
            for parameter in group["params"]:
                if parameter.requires_grad:
                    parameter.grad = torch.zeros_like(parameter)
        found.step()

    @operation("optimizer.state_dict")
    def optimizer_state_dict(self, optimizer: Handle) -> dict:
        return self.tensors.tree_to_values(self.optimizer_state(self.optimizer_of(optimizer)))

    @operation("optimizer.load_state_dict")
    def optimizer_load_state_dict(self, optimizer: Handle, state_dict: dict) -> None:
        self.load_optimizer_state(self.optimizer_of(optimizer), self.tensors.tree_to_torch(state_dict))

    def optimizer_of(self, handle: Handle) -> torch.optim.Optimizer:
        return self.handles.get(handle, "optimizer")


def _count(optimizer: torch.optim.Optimizer, when: str) -> None:
    optimizer.shardcts_hook_runs[when] += 1


def parameters_by_name(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters under the names that model.parameters shows."""
    return {torch_modules.clean_name(module, name): parameter for name, parameter in module.named_parameters()}


def with_clean_names(optimizer: torch.optim.Optimizer, state_dict: dict) -> dict:
    """The state dict of a named optimizer under the names that model.parameters shows; any other as it is."""
    if not isinstance(optimizer, _NamedOptimizer):
        return state_dict
    return _renamed(state_dict, lambda name: torch_modules.clean_name(optimizer.module, name))


def with_current_names(optimizer: torch.optim.Optimizer, state_dict: dict) -> dict:
    """The other way: under the names that PyTorch has, wrappers' parts included."""
    if not isinstance(optimizer, _NamedOptimizer):
        return state_dict
    current = {torch_modules.clean_name(optimizer.module, name): name for name in optimizer.named_parameters}
    return _renamed(state_dict, lambda name: current.get(name, name))


def _renamed(state_dict: dict, rename: Callable[[str], str]) -> dict:
    renamed = dict(state_dict)
    if "state" in state_dict:
        renamed["state"] = {rename(name): state for name, state in state_dict["state"].items()}
    if "param_groups" in state_dict:
        renamed["param_groups"] = [
            {**group, "params": sorted(rename(name) for name in group["params"])}
            for group in state_dict["param_groups"]
        ]
    return renamed


def _group(module: nn.Module, optimizer_class: type, group: dict) -> dict:
    by_name = parameters_by_name(module)
    parameters = [by_name[name] for name in group["parameters"]]
    return {"params": parameters, **group.get("entries", {}), **_arguments(optimizer_class, group.get("options", {}))}


def _arguments(optimizer_class: type, options: dict) -> dict:
    """beta1 and beta2 become betas where the optimizer has them; what is absent keeps PyTorch's default."""
    arguments = dict(options)
    betas = inspect.signature(optimizer_class).parameters.get("betas")
    if betas is not None and ("beta1" in arguments or "beta2" in arguments):
        arguments["betas"] = (arguments.pop("beta1", betas.default[0]), arguments.pop("beta2", betas.default[1]))
    return arguments
