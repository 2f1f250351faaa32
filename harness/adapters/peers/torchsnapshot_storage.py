"""torchsnapshot as a storage: PyTorch shards and trains, Snapshot saves and loads. A state dict is one entry of the app
state, and what all ranks hold whole is declared as replicated."""

import os
from urllib.parse import unquote

import torch
import torchsnapshot
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate
from torchsnapshot.flatten import flatten, inflate
from torchsnapshot.manifest import ChunkedTensorEntry, DictEntry, DTensorEntry, ListEntry, ShardedTensorEntry, TensorEntry
from torchsnapshot.manifest_utils import is_container_entry, is_dict_entry
from torchsnapshot.serialization import string_to_dtype
from torchsnapshot.snapshot import SNAPSHOT_METADATA_FNAME, Snapshot

from shardcts.pytorch import FullyShardOperations, NotSupported, PyTorchAdapter, StateDictApiOperations, operation

_STATE = "state"


class Destination(torchsnapshot.StateDict):
    """What torchsnapshot leaves to its users: whether names may be missing, and which of the loaded ones they want."""

    def __init__(self, wanted, partial):
        super().__init__(wanted)
        self.partial = partial

    def load_state_dict(self, loaded):
        names, wanted = ([_flat(inner) for inner in flatten(state, _STATE)[1]] for state in (loaded, self.data))
        missing = [name for name in wanted if not any(_is_below(known, [name]) for known in names)]
        if missing and not self.partial:
            raise KeyError(f"not in the snapshot: {', '.join(sorted(missing))}")
        self.data = _part(self.data, loaded)


class Torchsnapshot(FullyShardOperations, StateDictApiOperations, PyTorchAdapter):
    name, version, packages = "torchsnapshot", "2024.7.26", ["torchsnapshot-nightly"]
    capabilities = ["core", "dtensor", "fsdp2", "hsdp", "tp", "optimizer", "dsd", "ddp", "sharded_tensor", "process_groups",
                    "inspection", "storage", "storage_async"]

    @operation("storage.save")
    def storage_save(self, state_dict, path, **options):
        Snapshot.take(path, self._app_state(state_dict), self._members(path, options), ["**"])

    @operation("storage.save_async")
    def storage_save_async(self, state_dict, path, **options):
        pending = Snapshot.async_take(path, self._app_state(state_dict), self._members(path, options), ["**"])
        return self.handles.add("save", pending)

    @operation("storage.progress")
    def storage_progress(self, save):
        return {"staged": True, "done": self.handles.get(save, "save").done()}

    @operation("storage.wait")
    def storage_wait(self, save, group=None):
        self.handles.get(save, "save").wait()

    @operation("storage.load")
    def storage_load(self, state_dict, path, partial=False, **options):
        destination = Destination(self.tensors.tree_to_torch(state_dict), partial)
        Snapshot(path, self._members(None, options)).restore({_STATE: destination})
        return {"state_dict": self.tensors.tree_to_values(destination.data)}

    @operation("storage.read")
    def storage_read(self, path, keys=None):
        snapshot = Snapshot(path)
        containers, places = {_STATE: DictEntry([])}, {}
        for place, entry in snapshot.get_manifest().items():
            inner = place.split("/", 1)[1]
            if not is_container_entry(entry):
                places.setdefault(inner, (place, entry))
            elif is_dict_entry(known := containers.setdefault(inner, entry)):  # the keys of all ranks
                known.keys = list(dict.fromkeys([*known.keys, *entry.keys]))
        wanted = {inner for inner in places if keys is None or _is_below(_flat(inner), keys)}
        containers = {inner: entry for inner, entry in containers.items()
                      if keys is None or any(place.startswith(inner + "/") for place in wanted)}
        read = {inner: snapshot.read_object(places[inner][0], _whole(*places[inner], snapshot)) for inner in wanted}
        values = {inner: value.to_local() if isinstance(value, DTensor) else value for inner, value in read.items()}
        return inflate(containers, values, _STATE)

    @operation("storage.describe")
    def storage_describe(self, path):
        snapshot, writes, entries = Snapshot(path), torchsnapshot.__version__, {}  # of each name, those of all ranks
        try:
            for place, entry in snapshot.get_manifest().items():
                entries.setdefault(place.split("/", 1)[1], []).append(entry)
        except Exception:  # none, or one that cannot be read
            return {"complete": False, "version": "", "writes": writes, "keys": {}}
        keys = {_flat(inner): _described(found) for inner, found in entries.items() if not is_container_entry(found[0])}
        for name in (_flat(inner) for inner, found in entries.items() if isinstance(found[0], ListEntry)):
            below = {key: keys[key] for key in keys if key.startswith(name + ".")}
            if all(entry["kind"] == "value" for entry in below.values()):  # a list of values is one value
                keys = {key: entry for key, entry in keys.items() if key not in below} | {name: {"kind": "value"}}
        return {"complete": True, "version": snapshot.metadata.version, "writes": writes, "keys": dict(sorted(keys.items()))}

    def _app_state(self, state_dict):
        return {_STATE: torchsnapshot.StateDict(self.tensors.tree_to_torch(state_dict))}

    def _members(self, path, options):
        """The group, None for all ranks. What is refused is refused on every rank: metadata are written after a barrier."""
        for name, value in {"threads": 1, "lowest_rank": False, "distributed": True}.items():
            if options.get(name, value) != value:
                raise NotSupported(name, "torchsnapshot has no such option")
        if path is not None and os.path.exists(os.path.join(path, SNAPSHOT_METADATA_FNAME)):
            raise NotSupported("overwrite", "a snapshot's path must not be that of another one")
        return self.group_of(options["group"]) if "group" in options else None


def _flat(inner):
    return ".".join(unquote(part) for part in inner.split("/")[1:])


def _is_below(name, keys):
    return any(name == key or name.startswith(key + ".") for key in keys)


def _part(wanted, loaded):
    """The loaded values that have a place in `wanted`."""
    if isinstance(wanted, dict):
        return {key: _part(value, loaded[key]) if key in loaded else value for key, value in wanted.items()}
    if isinstance(wanted, list) and isinstance(loaded, list):
        return [_part(*pair) for pair in zip(wanted, loaded, strict=True)]
    return loaded


def _whole(place, entry, snapshot):
    """Where to read: a DTensor needs another one, here on this rank alone."""
    if not isinstance(entry, DTensorEntry):
        return None
    found = [other for known, other in snapshot.get_manifest().items() if known.split("/", 1)[1] == place.split("/", 1)[1]]
    described = _described(found)
    mesh = DeviceMesh("cpu", [torch.distributed.get_rank()], _init_backend=False)
    local = torch.empty(described["shape"], dtype=string_to_dtype(found[0].shards[0].tensor.dtype))
    return DTensor.from_local(local, mesh, [Replicate()], run_check=False)


def _described(entries):
    first = entries[0]
    if isinstance(first, TensorEntry):
        boxes, shape, dtype = [([0] * len(first.shape), first.shape)], first.shape, first.dtype
    elif isinstance(first, ChunkedTensorEntry | DTensorEntry | ShardedTensorEntry):
        shards = [shard for entry in entries for shard in (entry.chunks if hasattr(entry, "chunks") else entry.shards)]
        boxes, dtype = [(shard.offsets, shard.sizes) for shard in shards], shards[0].tensor.dtype
        shape = [max(offsets[dim] + sizes[dim] for offsets, sizes in boxes) for dim in range(len(boxes[0][0]))]
    else:
        return {"kind": "value"}
    chunks = sorted({(tuple(offsets), tuple(sizes)) for offsets, sizes in boxes if 0 not in sizes})
    boxes = [{"offsets": list(offsets), "sizes": list(sizes)} for offsets, sizes in chunks]
    return {"kind": "tensor", "dtype": dtype.removeprefix("torch."), "shape": list(shape), "chunks": boxes}
