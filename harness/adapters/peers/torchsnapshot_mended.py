"""torchsnapshot without those of its defects that hide what else there is: an adapter for looking behind them."""

from torchsnapshot import manifest_ops, serialization
from torchsnapshot.io_preparers import tensor as tensor_module
from torchsnapshot.io_preparers.dtensor import DTensorIOPreparer
from torchsnapshot.io_preparers.sharded_tensor import ShardedTensorIOPreparer
from torchsnapshot.manifest import DTensorEntry
from torchsnapshot.manifest_utils import is_fully_replicated_entry

from torchsnapshot_storage import Torchsnapshot

_largest_dim = DTensorIOPreparer._get_largest_shard_dim
_subdivide = ShardedTensorIOPreparer.subdivide_shard
_memory_of = serialization.tensor_as_memoryview
_merged = manifest_ops._get_merged_dtensor_entries


def largest_dim(shape, mesh, placements):
    return _largest_dim(shape, mesh, placements) if len(shape) else 0


def subdivide(shard, offsets, sizes, dim, max_shard_sz_bytes):
    whole = not sizes or 0 in sizes
    return [(shard, offsets, sizes)] if whole else _subdivide(shard, offsets, sizes, dim, max_shard_sz_bytes)


def memory_of(tensor):
    return _memory_of(tensor) if tensor.numel() else memoryview(b"")


def merged(rank_to_manifest):
    found = _merged(rank_to_manifest)
    for manifest in rank_to_manifest:
        for path, entry in manifest.items():
            if isinstance(entry, DTensorEntry) and is_fully_replicated_entry(entry):
                found.setdefault(path, entry)
    return found


class Mended(Torchsnapshot):
    name = "torchsnapshot, mended"
    patches = [
        {"target": "DTensorIOPreparer._get_largest_shard_dim", "reason": "DTensors without dimensions cannot be saved"},
        {"target": "ShardedTensorIOPreparer.subdivide_shard", "reason": "nor can shards without elements"},
        {"target": "tensor_as_memoryview", "reason": "nor can plain tensors of several dimensions without elements"},
        {"target": "manifest_ops._get_merged_dtensor_entries", "reason": "replicated DTensors cannot be loaded"},
    ]

    def __init__(self, rank, world_size, device, options):
        super().__init__(rank, world_size, device, options)
        DTensorIOPreparer._get_largest_shard_dim = staticmethod(largest_dim)
        ShardedTensorIOPreparer.subdivide_shard = staticmethod(subdivide)
        tensor_module.tensor_as_memoryview = memory_of
        manifest_ops._get_merged_dtensor_entries = merged
