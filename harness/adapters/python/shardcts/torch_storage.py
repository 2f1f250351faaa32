"""Checkpoints of PyTorch: torch.distributed.checkpoint with its FileSystem and its HuggingFace storage."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import _async_process_executor
from torch.distributed.checkpoint._consolidate_hf_safetensors import (
    consolidate_safetensors_files,
    consolidate_safetensors_files_on_every_rank,
)
from torch.distributed.checkpoint._state_dict_stager import StateDictStager
from torch.distributed.checkpoint.api import CheckpointException as TorchCheckpointException
from torch.distributed.checkpoint._extension import ExtensionRegistry, ZStandard
from torch.distributed.checkpoint.default_planner import (
    DefaultLoadPlanner,
    DefaultSavePlanner,
    _EmptyStateDictLoadPlanner,
)
from torch.distributed.checkpoint.filesystem import CURRENT_DCP_VERSION
from torch.distributed.checkpoint.format_utils import (
    BroadcastingTorchSaveReader,
    DynamicMetaLoadPlanner,
    dcp_to_torch_save,
    torch_save_to_dcp,
)
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.optimizer import load_sharded_optimizer_state_dict
from torch.distributed.checkpoint.quantized_hf_storage import QuantizedHuggingFaceStorageReader
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from torch.distributed.checkpoint.state_dict_loader import _load_state_dict
from torch.distributed.checkpoint.state_dict_saver import AsyncCheckpointerType, _save_state_dict
from torch.testing._internal.distributed.checkpoint_utils import Rot13Example

from shardcts import torch_process_group
from shardcts.adapter import operation
from shardcts.torch_process_group import in_process_group
from shardcts.torch_storage_faults import FailingReader, FailingWriter, Fault
from shardcts.values import Handle

# What the HuggingFace storage, and streams, need beside PyTorch.
has_safetensors = importlib.util.find_spec("safetensors") is not None
has_streams = ZStandard.is_available()

# How upstream's own test stages what another process is to write: in memory that both see.
_FOR_A_PROCESS = StagingOptions(
    use_pinned_memory=False, use_shared_memory=True, use_async_staging=False, use_non_blocking_copy=False
)
_STREAMS = {"rot13": Rot13Example, "zstd": ZStandard}


class CheckpointException(Exception):
    """PyTorch's exception of this name with a line for each rank that failed, in place of all their stacks."""

    def __init__(self, failed: TorchCheckpointException):
        lines = [f"rank {rank}: {type(error).__name__}: {error}" for rank, (error, _) in failed.failures.items()]
        super().__init__("\n".join(lines))


def _run(call, *arguments, **options):
    try:
        return call(*arguments, **options)
    except TorchCheckpointException as failed:
        raise CheckpointException(failed) from None


def _writer(
    path: str, file_format: str, overwrite: bool, threads: int, stream: str | None = None, cache_staged: bool = False
):
    if file_format == "safetensors":
        return dcp.HuggingFaceStorageWriter(path, thread_count=threads, save_distributed=True)
    extensions = None if stream is None else [_STREAMS[stream]()]
    return dcp.FileSystemWriter(
        path,
        thread_count=threads,
        overwrite=overwrite,
        cache_staged_state_dict=cache_staged,
        _extensions=extensions,
    )


def _streams() -> ExtensionRegistry:
    registry = ExtensionRegistry()
    for extension in _STREAMS.values():
        registry.register(extension)
    return registry


def _safetensors_folder(path: str) -> str | None:
    """Where the files are: the folder itself or, if it has none, the only folder in it that has some."""
    folder = Path(path)
    if any(folder.glob("*.safetensors")):
        return path
    inner = {file.parent for file in folder.glob("*/*.safetensors")}
    return str(inner.pop()) if len(inner) == 1 else None


def _reader(path: str, file_format: str, threads: int = 1, block_size: int | None = None):
    if file_format == "safetensors":
        folder = _safetensors_folder(path) or path
        if block_size is not None:
            return QuantizedHuggingFaceStorageReader(folder, thread_count=threads, block_size=block_size)
        return dcp.HuggingFaceStorageReader(folder, thread_count=threads)
    return dcp.FileSystemReader(path, _extension_registry=_streams())


def _format_of(path: str) -> str:
    """Of a checkpoint that is there; the metadata file is what every save but that of safetensors has."""
    return "default" if (Path(path) / ".metadata").exists() or not _safetensors_folder(path) else "safetensors"


def _described(metadata: Metadata) -> dict:
    return {fqn: _entry(entry) for fqn, entry in sorted(metadata.state_dict_metadata.items())}


def _entry(entry) -> dict:
    if not isinstance(entry, TensorStorageMetadata):
        return {"kind": "value"}
    chunks = sorted((list(chunk.offsets), list(chunk.sizes)) for chunk in entry.chunks if 0 not in chunk.sizes)
    return {
        "kind": "tensor",
        "dtype": str(entry.properties.dtype).removeprefix("torch."),
        "shape": list(entry.size),
        "chunks": [{"offsets": offsets, "sizes": sizes} for offsets, sizes in chunks],
    }


def _how_to_save(
    path: str, format: str, overwrite: bool, threads: int, lowest_rank: bool, stream=None, cache_staged=False
) -> dict:
    return {"storage_writer": _writer(path, format, overwrite, threads, stream, cache_staged),
            "planner": DefaultSavePlanner(dedup_save_to_lowest_rank=lowest_rank)}


def _read_whole(path: str) -> dict:
    """Of a checkpoint or of a file of torch.save, whatever code that has."""
    if Path(path).is_file():
        return torch.load(path, weights_only=False)
    read: dict = {}
    _load_state_dict(read, _reader(path, _format_of(path)), no_dist=True, planner=_EmptyStateDictLoadPlanner())
    return read


def _convert(source: str, target: str, to: str) -> None:
    is_file = Path(source).is_file()
    if to == "torch_save" and _format_of(source) == "default" and not is_file:
        dcp_to_torch_save(source, target)
    elif to == "torch_save":
        torch.save(_read_whole(source), target)
    elif to == "default" and is_file:
        torch_save_to_dcp(source, target)
    else:
        _save_state_dict(_read_whole(source), _writer(target, to, overwrite=True, threads=1), no_dist=True)


class StorageOperations:
    @operation("storage.save")
    def storage_save(
        self,
        state_dict: dict,
        path: str,
        format: str = "default",
        overwrite: bool = True,
        stream: str | None = None,
        threads: int = 1,
        lowest_rank: bool = False,
        distributed: bool = True,
        group: Handle | None = None,
    ) -> None:
        members = None if group is None else self.group_of(group)
        how = _how_to_save(path, format, overwrite, threads, lowest_rank, stream)
        fault, self._failure_to_come = self._failure_to_come, None
        saved = self.tensors.tree_to_torch(state_dict)
        with in_process_group(distributed):
            if fault is None:
                _run(dcp.save, saved, process_group=members, **how)
                return
            how["storage_writer"] = FailingWriter(fault, self.rank, path, thread_count=threads, overwrite=overwrite)
            _run(_save_state_dict, saved, process_group=members, coordinator_rank=fault.coordinator,
                 no_dist=not distributed, **how)

    @operation("storage.save_async")
    def storage_save_async(
        self,
        state_dict: dict,
        path: str,
        format: str = "default",
        overwrite: bool = True,
        threads: int = 1,
        lowest_rank: bool = False,
        cache_staged: bool = False,
        process: bool = False,
        group: Handle | None = None,
    ) -> Handle:
        members = None if group is None else self.group_of(group)
        how = _how_to_save(path, format, overwrite, threads, lowest_rank, cache_staged=cache_staged)
        stager = DefaultStager(_FOR_A_PROCESS) if process and not cache_staged else None
        if process:
            how["async_checkpointer_type"] = AsyncCheckpointerType.PROCESS
        saved = self.tensors.tree_to_torch(state_dict)
        place = next(number for number in itertools.count() if number not in self._saves.values())
        background = self._background_group(place) if members is None else members
        future = _run(dcp.async_save, saved, process_group=background, async_stager=stager, **how)
        if stager is not None:
            future.add_done_callback(lambda _: stager.close())
        handle = self.handles.add("save", future)
        self._saves[handle.id] = place
        return handle

    def _background_group(self, place: int) -> dist.ProcessGroup:
        """All ranks over a transport of its own: a save's collectives must meet neither those of a training nor those
        of another save under way. Some ranks alone cannot make a group safely: PyTorch names it by the number of groups
        that a rank is in, so that ranks may wait for groups of different names."""
        while len(self._background_groups) <= place:
            self._background_groups.append(dist.new_group(backend="gloo"))
            torch_process_group.calm_readers()
        return self._background_groups[place]

    def _end_saves(self) -> None:
        """Waits for saves that nobody has waited for, whatever comes of them."""
        for handle_id in self._saves:
            self.handles.get(Handle("save", handle_id), "save").exception()
        self._saves.clear()

    def _end_process(self) -> None:
        """Of the process that writes saves, which PyTorch starts with the first one and keeps, if there is one."""
        _async_process_executor._CHECKPOINT_PROCESS = None

    @operation("storage.progress")
    def storage_progress(self, save: Handle) -> dict:
        # The default stager has copied everything when async_save returns.
        return {"staged": True, "done": self.handles.get(save, "save").done()}

    @operation("storage.wait")
    def storage_wait(self, save: Handle, group: Handle | None = None) -> None:
        self._saves.pop(save.id, None)
        _run(self.handles.get(save, "save").result)

    @operation("storage.stage")
    def storage_stage(self, state_dict: dict) -> dict:
        return self.tensors.tree_to_values(StateDictStager().stage(self.tensors.tree_to_torch(state_dict)))

    @operation("storage.load")
    def storage_load(
        self,
        state_dict: dict,
        path: str,
        format: str = "default",
        partial: bool = False,
        threads: int = 1,
        block_size: int | None = None,
        distributed: bool = True,
        group: Handle | None = None,
    ) -> dict:
        members = None if group is None else self.group_of(group)
        loaded = self.tensors.tree_to_torch(state_dict)
        planner = DefaultLoadPlanner(allow_partial_load=partial)
        fault, self._failure_to_come = self._failure_to_come, None
        with in_process_group(distributed):
            if fault is None:
                reader = _reader(path, format, threads, block_size)
                _run(dcp.load, loaded, storage_reader=reader, planner=planner, process_group=members)
            else:
                _run(_load_state_dict, loaded, FailingReader(fault, self.rank, path), process_group=members,
                     coordinator_rank=fault.coordinator, no_dist=not distributed, planner=planner)
        return {"state_dict": self.tensors.tree_to_values(loaded)}

    @operation("storage.read")
    def storage_read(self, path: str, keys: list[str] | None = None) -> dict:
        read: dict = {}
        planner = _EmptyStateDictLoadPlanner(keys=None if keys is None else set(keys))
        _run(_load_state_dict, read, storage_reader=_reader(path, _format_of(path)), no_dist=True, planner=planner)
        return read

    @operation("storage.consolidate")
    def storage_consolidate(self, path: str, target: str, files: dict[str, int] | None = None) -> None:
        if files is None:
            files = dict.fromkeys(_reader(path, "safetensors").read_metadata().state_dict_metadata, 1)
        Path(target).mkdir(parents=True, exist_ok=True)
        consolidate_safetensors_files(_safetensors_folder(path) or path, target, files)

    @operation("storage.consolidate_on_every_rank")
    def storage_consolidate_on_every_rank(self, path: str, target: str, files: dict[str, int]) -> None:
        Path(target).mkdir(parents=True, exist_ok=True)
        consolidate_safetensors_files_on_every_rank(_safetensors_folder(path) or path, target, files)

    @operation("storage.load_optimizer")
    def storage_load_optimizer(self, model_state: dict, key: str, path: str) -> dict:
        model = self.tensors.tree_to_torch(model_state)
        loaded = _run(load_sharded_optimizer_state_dict, model, key, _reader(path, _format_of(path)))
        return self.tensors.tree_to_values(loaded)

    @operation("storage.describe")
    def storage_describe(self, path: str) -> dict:
        try:
            metadata = _reader(path, _format_of(path)).read_metadata()
        except Exception:  # none, or one that cannot be read
            return {"complete": False, "version": "", "writes": CURRENT_DCP_VERSION, "keys": {}}
        versions = {"version": metadata.version or "", "writes": CURRENT_DCP_VERSION}
        return {"complete": True, **versions, "keys": _described(metadata)}

    @operation("storage.convert")
    def storage_convert(self, source: str, target: str, to: str) -> None:
        _run(_convert, source, target, to)

    @operation("storage.load_file")
    def storage_load_file(self, state_dict: dict, path: str) -> dict:
        loaded = self.tensors.tree_to_torch(state_dict)
        reader = BroadcastingTorchSaveReader()
        _run(dcp.load, loaded, checkpoint_id=path, storage_reader=reader, planner=DynamicMetaLoadPlanner())
        return {"state_dict": self.tensors.tree_to_values(loaded)}

    @operation("storage.fail_at")
    def storage_fail_at(self, step: str, ranks: list[int], asynchronous: bool = False, coordinator: int = 0) -> None:
        self._failure_to_come = Fault(step, ranks, asynchronous, coordinator)

