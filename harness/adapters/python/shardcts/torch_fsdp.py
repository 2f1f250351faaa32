"""Operations on FullyShardedDataParallel (FSDP1), its scopes and state-dict types."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence

import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import (
    CPUOffload,
    FullOptimStateDictConfig,
    FullStateDictConfig,
    FullyShardedDataParallel,
    LocalOptimStateDictConfig,
    LocalStateDictConfig,
    MixedPrecision,
    ShardedOptimStateDictConfig,
    ShardedStateDictConfig,
    ShardingStrategy,
    StateDictType,
)
from torch.distributed.fsdp.wrap import (
    ModuleWrapPolicy,
    always_wrap_policy,
    lambda_auto_wrap_policy,
    size_based_auto_wrap_policy,
)

from shardcts import torch_modules
from shardcts.adapter import operation
from shardcts.torch_values import with_dtypes
from shardcts.values import Handle

_CONFIGS = {
    config.__name__: config
    for config in (
        FullStateDictConfig,
        LocalStateDictConfig,
        ShardedStateDictConfig,
        FullOptimStateDictConfig,
        LocalOptimStateDictConfig,
        ShardedOptimStateDictConfig,
    )
}


@contextlib.contextmanager
def _detached(root: nn.Module, paths: Sequence[str]) -> Iterator[None]:
    """Without these modules, which come back last; after an error where they were."""
    detached = []
    try:
        for path in paths:
            place = torch_modules.place_at(root, path)
            detached.append((place, list(place.parent._modules)))
            delattr(place.parent, place.attribute)
        yield
    except BaseException:
        for place, names in reversed(detached):
            setattr(place.parent, place.attribute, place.outermost)
            modules = place.parent._modules
            for name in names:
                modules[name] = modules.pop(name)
        raise
    for place, _ in detached:
        setattr(place.parent, place.attribute, place.outermost)


class FsdpOperations:
    """The wrapper fsdp, and the operations fsdp.* and scope.exit."""

    def wrap(self, root: nn.Module, path: str, wrapper: str, options: dict) -> nn.Module:
        if wrapper != "fsdp":
            return super().wrap(root, path, wrapper, options)
        with _detached(root, options.get("skip_modules", ())):
            arguments = self._fsdp_arguments(root, options)
            return torch_modules.wrap(root, path, lambda module: FullyShardedDataParallel(module, **arguments))

    def _fsdp_arguments(self, root: nn.Module, options: dict) -> dict:
        """The keyword arguments of FullyShardedDataParallel; what the options do not name keeps PyTorch's default."""
        parameters = {torch_modules.clean_name(root, name): parameter
                      for name, parameter in root.named_parameters(remove_duplicate=False)}
        converters = {
            "process_group": self.group_of,
            "device_mesh": self.mesh_of,
            "sharding_strategy": lambda name: ShardingStrategy[name],
            "cpu_offload": lambda offload: CPUOffload(offload_params=offload),
            "use_orig_params": bool,
            "ignored_modules": lambda names: [torch_modules.place_at(root, name).module for name in names],
            "ignored_states": lambda names: [parameters[name] for name in names],
            "mixed_precision": lambda fields: MixedPrecision(**with_dtypes(fields)),
            "auto_wrap_policy": lambda policy: _auto_wrap_policy(root, policy),
            "sync_module_states": bool,
            "device_id": bool,
            "skip_modules": list,
        }
        arguments = {name: converters[name](value) for name, value in options.items()}
        arguments.pop("skip_modules", None)
        # Without an accelerator PyTorch starts only when the device is named.
        if arguments.pop("device_id", False) or self.device.type == "cpu":
            arguments["device_id"] = self.device
        return arguments

    @operation("fsdp.summon_full_params")
    def fsdp_summon_full_params(
        self,
        model: Handle,
        recurse: bool = True,
        writeback: bool = True,
        rank0_only: bool = False,
        offload_to_cpu: bool = False,
        with_grads: bool = False,
    ) -> Handle:
        return self._enter(
            FullyShardedDataParallel.summon_full_params(
                self.model_of(model),
                recurse=recurse,
                writeback=writeback,
                rank0_only=rank0_only,
                offload_to_cpu=offload_to_cpu,
                with_grads=with_grads,
            )
        )

    @operation("fsdp.state_dict_type")
    def fsdp_state_dict_type(
        self, model: Handle, type: str, config: dict | None = None, optim_config: dict | None = None
    ) -> Handle:
        return self._enter(
            FullyShardedDataParallel.state_dict_type(
                self.model_of(model), _kind(type), _config(config), _config(optim_config)
            )
        )

    @operation("fsdp.set_state_dict_type")
    def fsdp_set_state_dict_type(
        self, model: Handle, type: str, config: dict | None = None, optim_config: dict | None = None
    ) -> dict:
        return _settings(
            FullyShardedDataParallel.set_state_dict_type(
                self.model_of(model), _kind(type), _config(config), _config(optim_config)
            )
        )

    @operation("fsdp.get_state_dict_type")
    def fsdp_get_state_dict_type(self, model: Handle) -> dict:
        return _settings(FullyShardedDataParallel.get_state_dict_type(self.model_of(model)))

    @operation("scope.exit")
    def scope_exit(self, scope: Handle, raised: bool = False) -> None:
        context = self.handles.get(scope, "scope")
        self.handles.drop(scope)
        if not raised:
            context.__exit__(None, None, None)
            return
        error = RuntimeError("the body of the scope has raised")
        try:
            context.__exit__(RuntimeError, error, None)
        except RuntimeError as passed_on:
            if passed_on is not error:
                raise

    @operation("fsdp.units")
    def fsdp_units(self, model: Handle) -> list[dict]:
        root = self.model_of(model)
        return [_unit(root, unit) for unit in FullyShardedDataParallel.fsdp_modules(root)]

    def _enter(self, context) -> Handle:
        context.__enter__()
        return self.handles.add("scope", context)


def _kind(name: str) -> StateDictType:
    return StateDictType[f"{name}_STATE_DICT"]


def _config(fields: dict | None):
    if fields is None:
        return None
    values = {("_use_dtensor" if name == "use_dtensor" else name): value for name, value in fields.items()}
    return _CONFIGS[values.pop("class")](**values)


def _config_fields(config) -> dict:
    fields = {name.removeprefix("_"): value for name, value in dataclasses.asdict(config).items()}
    return {"class": type(config).__name__, **fields}


def _settings(settings) -> dict:
    return {
        "type": settings.state_dict_type.name.removesuffix("_STATE_DICT"),
        "config": _config_fields(settings.state_dict_config),
        "optim_config": _config_fields(settings.optim_state_dict_config),
    }


def _auto_wrap_policy(root: nn.Module, policy: dict):
    kind = policy["kind"]
    if kind == "always":
        return always_wrap_policy
    if kind == "size_based":
        return functools.partial(size_based_auto_wrap_policy, min_num_params=policy["min_num_params"])
    if kind == "module_classes":
        known = {type(module).__name__: type(module) for module in root.modules()}
        return ModuleWrapPolicy({known[name] for name in policy["classes"]})
    wanted = {id(torch_modules.place_at(root, name).outermost) for name in policy["names"]}  # lambda
    return functools.partial(lambda_auto_wrap_policy, lambda_fn=lambda module: id(module) in wanted)


def _unit(root: nn.Module, unit: FullyShardedDataParallel) -> dict:
    return {
        "path": torch_modules.path_of(root, unit),
        "type": unit._state_dict_type.name.removesuffix("_STATE_DICT"),
        "config": _config_fields(unit._state_dict_config),
        "sharding_strategy": unit.sharding_strategy.name,
        "use_orig_params": unit._use_orig_params,
        "rank": dist.get_rank(unit.process_group),
        "world_size": dist.get_world_size(unit.process_group),
        "flat_parameter": None if unit._handle is None else _flat_parameter(unit._handle),
    }


def _flat_parameter(handle) -> dict:
    flat = handle.flat_param
    # Only a sharded flat parameter knows its shards; with NO_SHARD every rank has all of it.
    sharded = hasattr(flat, "_sharded_size")
    local = flat._sharded_size.numel() if sharded else flat.numel()
    shared = [
        [f"{info.module_name}.{info.param_name}", f"{info.prim_module_name}.{info.prim_param_name}"]
        for info in flat._shared_param_infos
    ]
    return {
        "fqns": list(flat._fqns),
        "shapes": [list(shape) for shape in flat._shapes],
        "numel": sum(flat._numels),
        "padded_numel": local * handle.world_size if sharded else flat.numel(),
        "local_numel": local,
        "local_padding": flat._shard_numel_padded if sharded else 0,
        "shared": [[name.removeprefix(".") for name in pair] for pair in shared],
    }
