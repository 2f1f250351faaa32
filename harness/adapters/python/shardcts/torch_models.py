"""Operations that build, wrap, run and inspect models."""

from __future__ import annotations

import copy

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed._functional_collectives import AsyncCollectiveTensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, SequenceParallel, parallelize_module

import shardcts_models
from shardcts_models.tree import hook_runs
from shardcts import torch_modules
from shardcts.adapter import operation
from shardcts.torch_optimizers import parameters_by_name
from shardcts.torch_tensors import fill
from shardcts.torch_values import with_dtypes
from shardcts.values import Handle

_PARALLEL_STYLES = {"colwise": ColwiseParallel, "rowwise": RowwiseParallel, "sequence": SequenceParallel}
_LOSS_REDUCTIONS = {"sum": torch.sum, "mean": torch.mean}


class ModelOperations:
    @operation("model.build")
    def model_build(self, model: str, args: dict | None = None, device: str = "cpu") -> Handle:
        return self._handles.add("model", shardcts_models.build(model, args, self._local_device(device)))

    @operation("model.copy")
    def model_copy(self, model: Handle) -> Handle:
        return self._handles.add("model", copy.deepcopy(self._model(model)))

    @operation("model.wrap")
    def model_wrap(self, model: Handle, path: str, wrapper: str, options: dict | None = None) -> None:
        wrappers = {
            "fully_shard": self._wrap_fully_shard,
            "fsdp": self._wrap_fsdp,
            "checkpoint": self._wrap_checkpoint,
            "ddp": self._wrap_ddp,
            "replicate": self._wrap_replicate,
            "compile": self._wrap_compile,
        }
        wrappers[wrapper](model, path, options or {})

    def _wrap_fully_shard(self, model: Handle, path: str, options: dict) -> None:
        fully_shard(self._model(model).get_submodule(path), **self._fully_shard_arguments(options))

    @operation("model.parallelize")
    def model_parallelize(self, model: Handle, mesh: Handle, plan: dict) -> None:
        styles = {path: _PARALLEL_STYLES[entry["style"]]() for path, entry in plan.items()}
        parallelize_module(self._model(model), self._handles.get(mesh, "mesh"), styles)

    @operation("model.forward")
    def model_forward(self, model: Handle, inputs: list[torch.Tensor]) -> torch.Tensor:
        with torch.enable_grad():
            output = self._model(model)(*map(self._tensors.to_torch, inputs))
            if isinstance(output, AsyncCollectiveTensor):
                output = output.clone()  # waits; a plain tensor with its graph
            return self._tensors.to_value(output)

    @operation("model.forward_and_state_dict")
    def model_forward_and_state_dict(self, model: Handle, inputs: list[torch.Tensor], path: str, get: str) -> dict:
        gets = {"model.state_dict": self.model_state_dict, "dsd.get_model_state_dict": self.dsd_get_model_state_dict}
        taken = {}
        hook = torch_modules.place_at(self._model(model), path).module.register_forward_hook(
            lambda *_: taken.update(self.tensor_clone(gets[get](model)))
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
        parameters = parameters_by_name(self._model(model))
        wanted = {parameters[name]: value for name, value in values.items()}
        for parameter, value in wanted.items():
            parameter.requires_grad_(value)

    @operation("model.zero_grad")
    def model_zero_grad(self, model: Handle) -> None:
        self._model(model).zero_grad()

    @operation("model.parameters")
    def model_parameters(self, model: Handle, remove_duplicate: bool = True) -> dict:
        return self._named_values(model, self._model(model).named_parameters(remove_duplicate=remove_duplicate))

    @operation("model.buffers")
    def model_buffers(self, model: Handle) -> dict:
        return self._named_values(model, self._model(model).named_buffers())

    @operation("model.modules")
    def model_modules(self, model: Handle) -> list[dict]:
        return [
            {"path": place.path, "class": type(place.module).__name__, "wrappers": place.wrapper_kinds()}
            for place in torch_modules.places(self._model(model))
        ]

    @operation("model.hook_runs")
    def model_hook_runs(self, model: Handle) -> dict:
        return hook_runs(self._model(model))

    @operation("model.gradients")
    def model_gradients(self, model: Handle) -> dict:
        named = self._model(model).named_parameters()
        return self._named_values(model, ((name, parameter.grad) for name, parameter in named))

    @operation("model.fill")
    def model_fill(self, model: Handle, value: float, buffers: bool = False) -> None:
        module = self._model(model)
        for tensor in [*module.parameters(), *(module.buffers() if buffers else ())]:
            fill(tensor, value)

    @operation("model.set_values")
    def model_set_values(self, model: Handle, values: dict) -> None:
        module = self._model(model)
        tensors = {
            torch_modules.clean_name(module, name): tensor
            for name, tensor in [*module.named_parameters(remove_duplicate=False), *module.named_buffers()]
        }
        with torch.no_grad():
            for name, value in values.items():
                tensors[name].copy_(self._tensors.to_torch(value))

    @operation("model.set_local")
    def model_set_local(self, model: Handle, values: dict) -> None:
        parameters = dict(self._model(model).named_parameters(remove_duplicate=False))
        with torch.no_grad():
            for name, value in values.items():
                local = _local(parameters[name])
                if local.shape != value.shape:
                    # copy_ would broadcast, the operation does not.
                    raise RuntimeError(f"{name}: local shape {tuple(local.shape)}, given {tuple(value.shape)}")
                local.copy_(value)

    @operation("model.broadcast_parameters")
    def model_broadcast_parameters(self, model: Handle, src: int) -> None:
        for parameter in self._model(model).parameters():
            dist.broadcast(parameter.detach(), src)

    @operation("model.reallocate")
    def model_reallocate(self, model: Handle) -> None:
        self._model(model)._apply(torch.clone)

    @operation("model.to")
    def model_to(self, model: Handle, path: str = "", device: str | None = None, dtype: str | None = None) -> None:
        module = torch_modules.place_at(self._model(model), path).module if path else self._model(model)
        if device is not None:
            module.to(self._local_device(device))
        if dtype is not None:
            module.to(getattr(torch, dtype))

    def _model(self, handle: Handle) -> nn.Module:
        return self._handles.get(handle, "model")

    def _named_values(self, model: Handle, named) -> dict:
        root = self._model(model)
        return self._tensors.dict_to_values((torch_modules.clean_name(root, name), tensor) for name, tensor in named)

    def _fully_shard_arguments(self, options: dict) -> dict:
        """The keyword arguments of fully_shard; what the options do not name keeps PyTorch's default."""
        converters = {
            "mesh": lambda mesh: self._handles.get(mesh, "mesh"),
            "reshard_after_forward": bool,
            "shard_placement": lambda kind: _largest_dim,
            "offload_policy": _offload_policy,
            "mp_policy": lambda policy: MixedPrecisionPolicy(**with_dtypes(policy)),
        }
        arguments = {name: converters[name](value) for name, value in options.items()}
        if "shard_placement" in arguments:
            arguments["shard_placement_fn"] = arguments.pop("shard_placement")
        if "mesh" not in arguments and not self._default_mesh_is_ours():
            arguments["mesh"] = self._world_mesh()
        return arguments

    def _default_mesh_is_ours(self) -> bool:
        """PyTorch's default mesh is on the machine's accelerator, which need not be the device under test."""
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return (accelerator.type if accelerator else "cpu") == self._device_type

    def _world_mesh(self) -> DeviceMesh:
        return self._meshes.init([dist.get_world_size()], None)


def _local(parameter: nn.Parameter) -> torch.Tensor:
    return parameter._local_tensor if isinstance(parameter, DTensor) else parameter


def _largest_dim(parameter: nn.Parameter) -> Shard:
    return Shard(parameter.shape.index(max(parameter.shape)))


def _offload_policy(policy: dict) -> CPUOffloadPolicy:
    return CPUOffloadPolicy(**{name: value for name, value in policy.items() if name != "kind"})
