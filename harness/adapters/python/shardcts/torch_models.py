"""Operations that build, wrap, run and inspect models, whatever shards them."""

from __future__ import annotations

import copy
import functools

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed._functional_collectives import AsyncCollectiveTensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, SequenceParallel, parallelize_module

import shardcts_models
from shardcts_models.tree import hook_runs
from shardcts import torch_modules
from shardcts.adapter import operation
from shardcts.torch_optimizers import parameters_by_name
from shardcts.torch_tensors import fill
from shardcts.values import Handle

_PARALLEL_STYLES = {
    "colwise": ColwiseParallel,
    "rowwise": RowwiseParallel,
    "sequence": functools.partial(SequenceParallel, use_local_output=True),
}
_LOSS_REDUCTIONS = {"sum": torch.sum, "mean": torch.mean}


class ModelOperations:
    @operation("model.build")
    def model_build(self, model: str, args: dict | None = None, device: str = "cpu") -> Handle:
        return self.handles.add("model", shardcts_models.build(model, args, self.local_device(device)))

    @operation("model.copy")
    def model_copy(self, model: Handle) -> Handle:
        return self.handles.add("model", copy.deepcopy(self.model_of(model)))

    @operation("model.wrap")
    def model_wrap(self, model: Handle, path: str, wrapper: str, options: dict | None = None) -> None:
        self.handles.replace(model, self.wrap(self.model_of(model), path, wrapper, options or {}))

    @operation("model.parallelize")
    def model_parallelize(self, model: Handle, mesh: Handle, plan: dict) -> None:
        styles = {path: _PARALLEL_STYLES[entry["style"]]() for path, entry in plan.items()}
        parallelize_module(self.model_of(model), self.mesh_of(mesh), styles)

    @operation("model.forward")
    def model_forward(self, model: Handle, inputs: list[torch.Tensor]) -> torch.Tensor:
        with torch.enable_grad():
            output = self.model_of(model)(*map(self.tensors.to_torch, inputs))
            if isinstance(output, AsyncCollectiveTensor):
                output = output.clone()  # waits; a plain tensor with its graph
            return self.tensors.to_value(output)

    @operation("model.forward_and_state_dict")
    def model_forward_and_state_dict(self, model: Handle, inputs: list[torch.Tensor], path: str, get: str) -> dict:
        gets = {"model.state_dict": "model_state_dict", "dsd.get_model_state_dict": "dsd_get_model_state_dict"}
        take = getattr(self, gets[get])
        taken = {}
        hook = torch_modules.place_at(self.model_of(model), path).module.register_forward_hook(
            lambda *_: taken.update(self.tensor_clone(take(model)))
        )
        try:
            output = self.model_forward(model, inputs)
        finally:
            hook.remove()
        return {"output": output, "state_dict": taken}

    @operation("model.backward")
    def model_backward(
        self, model: Handle, output: torch.Tensor, reduction: str | None = None, gradient: torch.Tensor | None = None
    ) -> None:
        if gradient is not None:
            if reduction is not None:
                raise ValueError("a gradient is of the output itself, not of its reduction: give one of them")
            output.backward(gradient)
            return
        with torch.enable_grad():
            _LOSS_REDUCTIONS[reduction or "sum"](output).backward()

    @operation("model.set_requires_grad")
    def model_set_requires_grad(self, model: Handle, values: dict) -> None:
        parameters = parameters_by_name(self.model_of(model))
        wanted = {parameters[name]: value for name, value in values.items()}
        for parameter, value in wanted.items():
            parameter.requires_grad_(value)

    @operation("model.zero_grad")
    def model_zero_grad(self, model: Handle) -> None:
        self.model_of(model).zero_grad()

    @operation("model.parameters")
    def model_parameters(self, model: Handle, remove_duplicate: bool = True) -> dict:
        return self._named_values(model, self.model_of(model).named_parameters(remove_duplicate=remove_duplicate))

    @operation("model.buffers")
    def model_buffers(self, model: Handle) -> dict:
        return self._named_values(model, self.model_of(model).named_buffers())

    @operation("model.modules")
    def model_modules(self, model: Handle) -> list[dict]:
        return [
            {"path": place.path, "class": type(place.module).__name__, "wrappers": place.wrapper_kinds()}
            for place in torch_modules.places(self.model_of(model))
        ]

    @operation("model.hook_runs")
    def model_hook_runs(self, model: Handle) -> dict:
        return hook_runs(self.model_of(model))

    @operation("model.gradients")
    def model_gradients(self, model: Handle) -> dict:
        named = self.model_of(model).named_parameters()
        return self._named_values(model, ((name, self.gradient(parameter)) for name, parameter in named))

    @operation("model.fill")
    def model_fill(self, model: Handle, value: float, buffers: bool = False) -> None:
        module = self.model_of(model)
        for tensor in [*module.parameters(), *(module.buffers() if buffers else ())]:
            fill(tensor, value)

    @operation("model.set_values")
    def model_set_values(self, model: Handle, values: dict) -> None:
        module = self.model_of(model)
        tensors = {
            torch_modules.clean_name(module, name): tensor
            for name, tensor in [*module.named_parameters(remove_duplicate=False), *module.named_buffers()]
        }
        with torch.no_grad():
            for name, value in values.items():
                tensors[name].copy_(self.tensors.to_torch(value))

    @operation("model.set_local")
    def model_set_local(self, model: Handle, values: dict) -> None:
        module = self.model_of(model)
        parameters = {
            torch_modules.clean_name(module, name): parameter
            for name, parameter in module.named_parameters(remove_duplicate=False)
        }
        with torch.no_grad():
            for name, value in values.items():
                local = _local(parameters[name])
                if local.shape != value.shape:
                    # copy_ would broadcast, the operation does not.
                    raise RuntimeError(f"{name}: local shape {tuple(local.shape)}, given {tuple(value.shape)}")
                local.copy_(value)

    @operation("model.broadcast_parameters")
    def model_broadcast_parameters(self, model: Handle, src: int) -> None:
        for parameter in self.model_of(model).parameters():
            dist.broadcast(parameter.detach(), src)

    @operation("model.reallocate")
    def model_reallocate(self, model: Handle) -> None:
        self.model_of(model)._apply(torch.clone)

    @operation("model.to")
    def model_to(self, model: Handle, path: str = "", device: str | None = None, dtype: str | None = None) -> None:
        module = torch_modules.place_at(self.model_of(model), path).module if path else self.model_of(model)
        if device is not None:
            module.to(self.local_device(device))
        if dtype is not None:
            module.to(getattr(torch, dtype))

    def model_of(self, handle: Handle) -> nn.Module:
        return self.handles.get(handle, "model")

    def gradient(self, parameter: nn.Parameter) -> torch.Tensor | None:
        """What model.gradients shows of a parameter of the module."""
        return parameter.grad

    def _named_values(self, model: Handle, named) -> dict:
        root = self.model_of(model)
        return self.tensors.dict_to_values((torch_modules.clean_name(root, name), tensor) for name, tensor in named)


def _local(parameter: nn.Parameter) -> torch.Tensor:
    return parameter._local_tensor if isinstance(parameter, DTensor) else parameter
