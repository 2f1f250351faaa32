"""fairscale's FullyShardedDataParallel, which FSDP1 came from, on a CPU. Options: also, capabilities to declare as well;
mended=yes: two defects of gathered optimizer state, which hide others, are put right."""

import contextlib
import copy

import torch
from fairscale import __version__
from fairscale.internal import parallel
from fairscale.nn.data_parallel import FullyShardedDataParallel
from fairscale.nn.data_parallel import fully_sharded_data_parallel as fsdp_module
from fairscale.nn.misc import FlattenParamsWrapper
from fairscale_on_cpu import PATCHES, apply_patches

from shardcts import torch_modules
from shardcts.pytorch import NotSupported, PyTorchAdapter, operation

_FULL = {"type": "FULL",
         "config": {"class": "FullStateDictConfig", "offload_to_cpu": False, "rank0_only": False},
         "optim_config": {"class": "FullOptimStateDictConfig", "offload_to_cpu": True, "rank0_only": False}}


class Fairscale(PyTorchAdapter):
    name, version, packages = "fairscale", __version__, ["fairscale"]
    capabilities = ["core", "optimizer", "fsdp1.full", "fsdp1.summon", "fsdp1.shard_grad_op", "fsdp1_optim.full",
                    "activation_checkpoint", "process_groups", "serialization", "inspection"]
    patches = [*PATCHES, {"target": "get_process_group_cached", "reason": "it keeps the groups of a process that starts anew"}]
    wrapper_classes = {FullyShardedDataParallel: ("fsdp", "_fsdp_wrapped_module"), FlattenParamsWrapper: (None, "_fpw_module")}

    def __init__(self, rank, world_size, device, options):
        self.capabilities = [*self.capabilities, *filter(None, options.pop("also", "").split("+"))]
        self._mended = options.pop("mended", "") == "yes"
        if self._mended:
            self.patches = [*self.patches, {"target": "gather_full_optim_state_dict",
                                            "reason": "it changes the optimizer's steps, and has ids of its own"}]
        super().__init__(rank, world_size, device, options)
        apply_patches()
        vars(parallel.get_process_group_cached).clear()

    def wrap(self, root, path, wrapper, options):
        if wrapper != "fsdp":
            return super().wrap(root, path, wrapper, options)
        reshard = {"FULL_SHARD": True, "SHARD_GRAD_OP": False}.get(options.get("sharding_strategy", "FULL_SHARD"))
        if reshard is None:
            raise NotSupported("options.sharding_strategy", "fairscale shards over all ranks of a group")
        for name, value in options.items():
            if name not in ("process_group", "sharding_strategy", "device_id") and value:
                raise NotSupported(f"options.{name}", "not mapped to an option of fairscale")
        group = self.group_of(options["process_group"]) if "process_group" in options else None
        return torch_modules.wrap(root, path, lambda module: FullyShardedDataParallel(
            module, process_group=group, reshard_after_forward=reshard, compute_device=self.device))

    def load_state_dict(self, module, state_dict, strict, assign):
        if assign:
            raise NotSupported("assign", "fairscale copies")
        with contextlib.ExitStack() as scopes:
            if not isinstance(module, FullyShardedDataParallel):  # which does so itself
                for unit in fsdp_module.get_fsdp_instances(module):
                    scopes.enter_context(unit.summon_full_params(recurse=False))
            return tuple(module.load_state_dict(state_dict, strict))

    @operation("fsdp.summon_full_params")
    def summon_full_params(self, model, recurse=True, writeback=True, **options):
        for name, value in options.items():
            if value:
                raise NotSupported(name, "fairscale has no such option")
        module = self.model_of(model)
        units = [module] if isinstance(module, FullyShardedDataParallel) else fsdp_module.get_fsdp_instances(module)
        scope = contextlib.ExitStack()
        for unit in units:
            scope.enter_context(unit.summon_full_params(recurse=recurse and unit is module, volatile=not writeback))
        return self.handles.add("scope", scope)

    @operation("scope.exit")
    def scope_exit(self, scope, raised=False):
        found = self.handles.get(scope, "scope")
        self.handles.drop(scope)
        found.__exit__(None, None, None)

    @operation("fsdp.state_dict_type")
    def state_dict_type(self, model, type, config=None, optim_config=None):
        self._only_full(config)
        return self.handles.add("scope", contextlib.ExitStack())

    @operation("fsdp.set_state_dict_type")
    def set_state_dict_type(self, model, type, config=None, optim_config=None):
        self._only_full(config)
        return _FULL

    @operation("fsdp.get_state_dict_type")
    def get_state_dict_type(self, model):
        return _FULL

    def _only_full(self, config):
        """state_dict() is the whole one; where and on which ranks it is, is said when a module is wrapped."""
        for name, value in (config or {}).items():
            if value is True:
                raise NotSupported(f"config.{name}", "an option of fairscale's constructor")

    @operation("fsdp.optim_state_dict")
    def optim_state_dict(self, model, optimizer, state_dict=None, group=None):
        module = self.model_of(model)
        if state_dict is not None:
            raise NotSupported("state_dict", "fairscale takes the optimizer's own")
        found = self.optimizer_of(optimizer)
        steps = [(state, state["step"].clone()) for state in found.state.values() if torch.is_tensor(state.get("step"))]
        gathered = [module.gather_full_optim_state_dict(found)]
        for state, step in steps if self._mended else ():
            state["step"] = step
        torch.distributed.broadcast_object_list(gathered)  # rank 0 has it
        saved = self._keyed(gathered[0], dict(enumerate(self._names(module))))
        return _with_steps(saved, lambda step: torch.tensor(float(step)))

    @operation("fsdp.optim_state_dict_to_load")
    def optim_state_dict_to_load(self, model, optimizer, state_dict, load_directly=False, **options):
        """The state dict is as fairscale gives it, with the two entries that it adds."""
        module = self.model_of(model)
        ids = {name: number for number, name in enumerate(self._names(module))}
        units = fsdp_module.get_fsdp_instances(module, skip_empty=True)
        owners = [number for number, unit in enumerate(units) for _ in range(unit.num_params_managed)]
        given = _with_steps(self._keyed(copy.deepcopy(state_dict), ids), float)
        given |= {"param_id_map": dict(enumerate(owners)), "uncollected_local_ids": []}
        shard = module.get_shard_from_optim_state_dict(given)
        if load_directly:
            self.optimizer_of(optimizer).load_state_dict(shard)
        return shard

    def _names(self, module):
        """Of the parameters by id, in the order of the wrapped module: "as if FSDP was not there". Mended: in that of the units."""
        described = module.local_metadata_dict()["param_metadata"]
        names = [".".join(filter(None, [unit["fsdp_path"], name]))
                 for unit in described for flat in unit["params"].values() for name in flat["names"]]
        return names if self._mended else [name for name in module.state_dict() if name in names]

    def _keyed(self, state_dict, keys):
        groups = [{**group, "params": [keys[key] for key in group["params"]]} for group in state_dict["param_groups"]]
        return {"state": {keys[key]: state for key, state in state_dict["state"].items()}, "param_groups": groups}


def _with_steps(state_dict, convert):
    """To fairscale a step is a number, as it was to PyTorch before 1.12."""
    for state in state_dict["state"].values():
        if "step" in state:
            state["step"] = convert(state["step"])
    return state_dict
