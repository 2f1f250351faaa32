"""Hugging Face accelerate's FSDP2: what Accelerator.prepare does to a model, without a launcher. The units of a model are
prepared with its root, in one call; option loading=efficient: with cpu_ram_efficient_loading."""

from types import SimpleNamespace

import accelerate
from accelerate.utils import FullyShardedDataParallelPlugin, fsdp_utils

from shardcts.pytorch import FullyShardOperations, NotSupported, PyTorchAdapter, StateDictApiOperations, operation

_UNITS_BY_PATH = {"target": "accelerate.utils.fsdp_utils.fsdp2_prepare_auto_wrap_policy",
                  "reason": "accelerate chooses units by class or size, the contract by path"}


class Accelerate(FullyShardOperations, StateDictApiOperations, PyTorchAdapter):
    name, version, packages = "accelerate (FSDP2)", accelerate.__version__, ["accelerate"]
    based_on = "torch"
    capabilities = ["core", "dtensor", "fsdp2", "hsdp", "tp", "cpu_offload_policy", "meta_device", "optimizer", "dsd",
                    "activation_checkpoint", "serialization", "inspection"]
    patches = [_UNITS_BY_PATH]

    def __init__(self, rank, world_size, device, options):
        self._efficient = options.pop("loading", "") == "efficient"
        super().__init__(rank, world_size, device, options)
        self._waiting = {}  # by the id of a root: (unit, its arguments) that wait for the root

    def model_of(self, handle):
        root = super().model_of(handle)
        for unit, arguments in self._waiting.pop(id(root), []):  # used without a root of its own
            self._prepare(unit, [], arguments)
        return root

    @operation("model.wrap")
    def model_wrap(self, model, path, wrapper, options=None):
        root = super().model_of(model)
        if wrapper != "fully_shard":
            return super().model_wrap(model, path, wrapper, options)
        if "shard_placement" in (options or {}):
            raise NotSupported("options.shard_placement", "accelerate does not pass it on")
        arguments = self.fully_shard_arguments(options or {})
        if path:
            self._waiting.setdefault(id(root), []).append((root.get_submodule(path), arguments))
        else:
            self._prepare(root, [unit for unit, _ in self._waiting.pop(id(root), [])], arguments)

    def _prepare(self, model, units, arguments):
        fsdp_utils.fsdp2_prepare_auto_wrap_policy = lambda plugin, model: lambda module: id(module) in map(id, units)
        plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2, cpu_ram_efficient_loading=self._efficient,
            reshard_after_forward=arguments.get("reshard_after_forward", True),
            cpu_offload=arguments.get("offload_policy", False), mixed_precision_policy=arguments.get("mp_policy"))
        mesh = {("fsdp",): arguments["mesh"]} if "mesh" in arguments else None
        fsdp_utils.fsdp2_prepare_model(SimpleNamespace(
            state=SimpleNamespace(fsdp_plugin=plugin), device=self.device, is_main_process=self.rank == 0,
            mixed_precision="no", torch_device_mesh=mesh, parallelism_config=SimpleNamespace(fsdp_dim_names=("fsdp",))), model)
