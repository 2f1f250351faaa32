"""Plans of PyTorch's checkpoints, made from layouts: who writes what, what is read, flat names."""

from __future__ import annotations

import torch
from torch.distributed.checkpoint._consolidate_hf_safetensors import (
    _calculate_max_contiguous_elements,
    _write_sub_tensor_to_file_optimized,
)
from torch.distributed.checkpoint._nested_dict import flatten_state_dict, unflatten_state_dict
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner, _validate_global_plan
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner, TensorWriteData, WriteItem, WriteItemType
from torch.distributed.checkpoint.planner_helpers import create_read_items_for_chunk_list

from shardcts.adapter import operation

# Where PyTorch keeps the plans of a series, by a planner's key.
_CACHES = ("_cached_save_plan", "_cached_final_save_plan", "_cached_all_plans", "_cached_global_plan", "_cached_metadata")


class _Parts(torch.Tensor):
    """What a simulated rank holds of a tensor: chunks without values, in the way that PyTorch lets a tensor say so."""

    @staticmethod
    def __new__(cls, dtype: torch.dtype, shape: list[int], boxes: list[tuple]):
        made = torch.Tensor._make_wrapper_subclass(cls, shape, dtype=dtype, device="meta")
        made.boxes = boxes
        return made

    def __init__(self, *arguments):
        super().__init__()

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), options=None):
        raise NotImplementedError(f"{function} of a layout")

    def __create_write_items__(self, name: str, tensor: torch.Tensor) -> list[WriteItem]:
        properties = TensorProperties(dtype=self.dtype)
        return [
            WriteItem(
                index=MetadataIndex(name, offset=torch.Size(offsets)),
                type=WriteItemType.SHARD,
                tensor_data=TensorWriteData(_chunk(offsets, sizes), properties=properties, size=self.size()),
            )
            for offsets, sizes in self.boxes
        ]

    def __create_chunk_list__(self) -> list[ChunkStorageMetadata]:
        return [_chunk(offsets, sizes) for offsets, sizes in self.boxes]

    def __get_tensor_shard__(self, index: MetadataIndex) -> torch.Tensor:
        raise NotImplementedError("a layout has no values")


def _chunk(offsets, sizes) -> ChunkStorageMetadata:
    return ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes))


def _chunks(chunks: list[dict]) -> list[ChunkStorageMetadata]:
    return [_chunk(chunk["offsets"], chunk["sizes"]) for chunk in chunks]


def _in_chunks(shape: list[int], chunks: list[dict]) -> TensorStorageMetadata:
    return TensorStorageMetadata(TensorProperties(dtype=torch.float32), torch.Size(shape), _chunks(chunks))


def _state_of_ranks(ranks: int, tensors: dict, values: dict) -> list[dict]:
    """A state dict for each simulated rank. A tensor that a rank has as a whole is a plain one."""
    states: list[dict] = [{} for _ in range(ranks)]
    for name, layout in tensors.items():
        dtype, shape = getattr(torch, layout["dtype"]), layout["shape"]
        boxes: dict[int, list[tuple]] = {}
        for rank, *box in layout["chunks"].tolist():
            boxes.setdefault(rank, []).append((box[: len(shape)], box[len(shape) :]))
        for rank, held in boxes.items():
            is_whole = held == [([0] * len(shape), shape)]
            whole = torch.empty(shape, dtype=dtype, device="meta") if is_whole else None
            states[rank][name] = whole if is_whole else _Parts(dtype, shape, held)
    for name, holders in values.items():
        for rank in holders:
            states[rank][name] = None
    return states


def _written(plans: list[SavePlan], tensors: dict) -> dict:
    rows: dict[str, list] = {name: [] for name in tensors}
    owners: dict[str, int] = {}
    for rank, plan in enumerate(plans):
        for item in plan.items:
            if item.tensor_data is None:
                owners[item.index.fqn] = rank
            else:
                chunk = item.tensor_data.chunk
                rows[item.index.fqn].append((list(chunk.offsets), list(chunk.sizes), rank))
    chunks = {}
    for name, found in rows.items():
        table = [[rank, *offsets, *sizes] for offsets, sizes, rank in sorted(found)]
        chunks[name] = torch.tensor(table, dtype=torch.int64).reshape(len(table), 1 + 2 * len(tensors[name]["shape"]))
    return {"chunks": chunks, "values": owners}


class StoragePlanningOperations:
    @operation("storage.plan_reads")
    def storage_plan_reads(self, saved: list[dict], wanted: list[dict]) -> list[dict]:
        # The plan does not depend on the shape.
        items = create_read_items_for_chunk_list("tensor", _in_chunks([], saved), _chunks(wanted))
        reads = []
        for item in items:
            begins = wanted[item.dest_index.index]["offsets"]
            offsets = [begin + offset for begin, offset in zip(begins, item.dest_offsets, strict=True)]
            places = {"saved": item.storage_index.index, "wanted": item.dest_index.index}
            reads.append({**places, "offsets": offsets, "sizes": list(item.lengths)})
        return sorted(reads, key=lambda read: (read["wanted"], read["saved"]))

    @operation("storage.check_chunks")
    def storage_check_chunks(self, shape: list[int], chunks: list[dict]) -> list[str]:
        # With the plan of one rank alone PyTorch does not compare volumes.
        plans = [SavePlan([]), SavePlan([])]
        return _validate_global_plan(plans, Metadata({"tensor": _in_chunks(shape, chunks)}))

    @operation("storage.contiguous_run")
    def storage_contiguous_run(self, place: list[int], part: list[int], shape: list[int]) -> int:
        return _calculate_max_contiguous_elements(place, part, shape)

    @operation("storage.place_part")
    def storage_place_part(self, part: torch.Tensor, offsets: list[int], shape: list[int]) -> torch.Tensor:
        whole = torch.zeros(shape, dtype=part.dtype)
        memory = memoryview(whole.reshape(-1).view(torch.uint8).numpy())
        elements = part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        _write_sub_tensor_to_file_optimized(
            memory, elements, part.element_size(), shape, offsets, list(part.shape)
        )
        return whole

    @operation("storage.plan_save")
    def storage_plan_save(
        self, ranks: int, tensors: dict, values: dict, lowest_rank: bool = False, series: str | None = None
    ) -> dict:
        planners = [
            DefaultSavePlanner(dedup_save_to_lowest_rank=lowest_rank, enable_plan_caching=series is not None)
            for _ in range(ranks)
        ]
        if series is not None:  # of one process here; in a real save every rank has its own
            for rank, planner in enumerate(planners):
                planner._cached_plans_key = f"{series}.{rank}"
                self._plan_keys.add(planner._cached_plans_key)
        plans = []
        for rank, (planner, state) in enumerate(zip(planners, _state_of_ranks(ranks, tensors, values), strict=True)):
            planner.set_up_planner(state, is_coordinator=rank == 0)
            plans.append(planner.create_local_plan())
        plans, _ = planners[0].create_global_plan(plans)
        finished = [planner.finish_plan(plan) for planner, plan in zip(planners, plans, strict=True)]
        return {**_written(finished, tensors), "reused": [not plan.usable for plan in plans]}

    def _end_series(self) -> None:
        for cache in _CACHES:
            for key in self._plan_keys:
                getattr(SavePlanner, cache).pop(key, None)
        self._plan_keys.clear()

    @operation("storage.flatten")
    def storage_flatten(self, state_dict: dict) -> dict:
        flat, paths = flatten_state_dict(state_dict)
        return {"flat": flat, "paths": {name: list(path) for name, path in paths.items()}}

    @operation("storage.unflatten")
    def storage_unflatten(self, flat: dict, paths: dict) -> dict:
        # PyTorch has no keys that are ints: it makes texts of them.
        keys = {name: tuple(str(key[0]) if isinstance(key, list) else key for key in path) for name, path in paths.items()}
        return unflatten_state_dict(flat, keys)
