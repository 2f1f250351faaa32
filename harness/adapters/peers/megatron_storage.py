"""Megatron-Core's dist_checkpointing as a storage: PyTorch shards and trains, Megatron-Core saves and loads. A rank's part
of a tensor is declared with its offsets, and of equal parts that of the first rank is the main one."""

import os
from itertools import product

import torch
from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.core import maybe_load_config
from megatron.core.dist_checkpointing.mapping import ShardedTensor
from megatron.core.dist_checkpointing.strategies import async_utils, filesystem_async
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from shardcts.pytorch import FullyShardOperations, NotSupported, PyTorchAdapter, StateDictApiOperations, operation


class Megatron(FullyShardOperations, StateDictApiOperations, PyTorchAdapter):
    name, version, packages = "megatron-core", "0.16.1", ["megatron-core"]
    capabilities = ["core", "dtensor", "fsdp2", "hsdp", "tp", "optimizer", "dsd", "ddp", "sharded_tensor", "process_groups",
                    "inspection", "storage", "storage_async"]
    patches = [
        {"target": "torch.cuda.synchronize", "reason": "called without a GPU, too"},
        {"target": "torch.cuda.current_device", "reason": "errors are counted in a tensor on it"},
    ]

    def __init__(self, rank, world_size, device, options):
        super().__init__(rank, world_size, device, options)
        torch.cuda.synchronize = lambda device=None: None
        torch.cuda.current_device = lambda: torch.device("cpu")

    def close(self):
        filesystem_async._results_queue = None  # with it ends the process that serves it
        super().close()

    @operation("storage.save")
    def storage_save(self, state_dict, path, **options):
        self._prepare(path, options)
        dist_checkpointing.save(declared(self.tensors.tree_to_torch(state_dict)), path)

    @operation("storage.save_async")
    def storage_save_async(self, state_dict, path, **options):
        self._prepare(path, options)
        state = declared(self.tensors.tree_to_torch(state_dict))
        queue = async_utils.AsyncCallsQueue()
        queue.schedule_async_request(dist_checkpointing.save(state, path, async_sharded_save=True))
        return self.handles.add("save", queue)

    @operation("storage.progress")
    def storage_progress(self, save):
        calls = self.handles.get(save, "save").async_calls
        return {"staged": True, "done": all(not call.async_caller.process.is_alive() for call in calls)}

    @operation("storage.wait")
    def storage_wait(self, save, group=None):
        self.handles.get(save, "save").maybe_finalize_async_calls(blocking=True)

    @operation("storage.load")
    def storage_load(self, state_dict, path, partial=False, **options):
        self._refuse(options)
        wanted = self.tensors.tree_to_torch(state_dict)
        strict = "log_unexpected" if partial else "assume_ok_unexpected"
        loaded = dist_checkpointing.load(declared(wanted), path, strict=strict)
        return {"state_dict": self.tensors.tree_to_values(filled(wanted, loaded))}

    @operation("storage.describe")
    def storage_describe(self, path):
        try:
            config, metadata = maybe_load_config(path), FileSystemReader(path).read_metadata()
            values = names_of(dist_checkpointing.load_common_state_dict(path))
            version = str(config.sharded_backend_version)
        except Exception:  # none, or one that cannot be read
            return {"complete": False, "version": "", "writes": "1", "keys": {}}
        keys = {name: {"kind": "value"} for name in values}
        keys |= {name: described(entry) for name, entry in metadata.state_dict_metadata.items()}
        return {"complete": True, "version": version, "writes": "1", "keys": dict(sorted(keys.items()))}

    def _prepare(self, path, options):
        """The folder must be there before a save."""
        self._refuse(options)
        os.makedirs(path, exist_ok=True)
        torch.distributed.barrier()

    def _refuse(self, options):
        for name, value in {"threads": 1, "lowest_rank": False, "distributed": True, "overwrite": True}.items():
            if options.get(name, value) != value:
                raise NotSupported(name, "Megatron-Core has no such option")
        if "group" in options:
            raise NotSupported("group", "Megatron-Core saves and loads with all ranks")


def declared(value, name=""):
    """The state dict as dist_checkpointing takes it."""
    if isinstance(value, dict):
        return {key: declared(inner, f"{name}.{key}" if name else str(key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [declared(inner, f"{name}.{index}") for index, inner in enumerate(value)]
    if not isinstance(value, torch.Tensor) and not hasattr(value, "local_shards"):
        return value
    parts = [ShardedTensor(name, data, data.dtype, tuple(data.shape), tuple(shape), tuple(offsets), None, replica)
             for data, shape, offsets, replica in parts_of(value)]
    return {index: part for index, part in enumerate(parts)}


def parts_of(tensor):
    """This rank's parts: data, shape of the whole, offsets in it, and which replica this is."""
    if hasattr(tensor, "local_shards"):
        return [(shard.tensor, tensor.size(), shard.metadata.shard_offsets, 0) for shard in tensor.local_shards()]
    if not isinstance(tensor, DTensor):
        return [(tensor, tensor.shape, [0] * tensor.dim(), torch.distributed.get_rank())]
    place = tensor.device_mesh.get_coordinate()
    if place is None:
        return []
    if any(type(placement) not in (Replicate, Shard) for placement in tensor.placements):
        raise NotSupported("placements", "a Megatron-Core ShardedTensor is one box of the whole")
    _, offsets = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    replica = tuple(index for index, placement in zip(place, tensor.placements, strict=True) if placement.is_replicate())
    return [(tensor.to_local(), tensor.shape, offsets, replica or 0)]


def filled(wanted, loaded):
    """`wanted`, whose tensors were loaded in place, with the loaded values."""
    if isinstance(wanted, dict):
        return {key: filled(value, loaded[key]) if key in loaded else value for key, value in wanted.items()}
    if isinstance(wanted, list) and isinstance(loaded, list):
        return [filled(*pair) for pair in zip(wanted, loaded, strict=True)]
    is_tensor = isinstance(wanted, torch.Tensor) or hasattr(wanted, "local_shards")
    return wanted if is_tensor else loaded


def names_of(value, name=""):
    """Flat names of values; a list of plain values is one value."""
    if not isinstance(value, dict):
        return [name]
    return [found for key, inner in value.items() for found in names_of(inner, f"{name}.{key}" if name else str(key))]


def described(entry):
    if not hasattr(entry, "chunks"):
        return {"kind": "value"}
    boxes = sorted({(tuple(chunk.offsets), tuple(chunk.sizes)) for chunk in entry.chunks if 0 not in chunk.sizes})
    return {"kind": "tensor", "dtype": str(entry.properties.dtype).removeprefix("torch."), "shape": list(entry.size),
            "chunks": [{"offsets": list(offsets), "sizes": list(sizes)} for offsets, sizes in boxes]}
