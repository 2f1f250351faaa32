"""What PyTorch's coordinator takes to plan a save of many ranks, in seconds of a processor: half of the tensors are
sharded over all ranks, half are on every rank. usage: plan_of_many_ranks.py [RANKS [TENSORS]]
"""

import sys
import time

import torch
from torch.distributed.checkpoint import DefaultSavePlanner
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex, TensorProperties
from torch.distributed.checkpoint.planner import SavePlan, TensorWriteData, WriteItem, WriteItemType

PROPERTIES = TensorProperties(dtype=torch.float32)


def item(number: int, rank: int, ranks: int) -> WriteItem:
    is_sharded = number % 2 == 0
    offset, size, whole = (rank, 1, ranks) if is_sharded else (0, 8, 8)
    chunk = ChunkStorageMetadata(torch.Size([offset]), torch.Size([size]))
    kind = WriteItemType.SHARD if is_sharded else WriteItemType.TENSOR
    data = TensorWriteData(chunk, PROPERTIES, torch.Size([whole]))
    return WriteItem(MetadataIndex(f"tensor{number}", torch.Size([offset])), kind, tensor_data=data)


def main() -> None:
    ranks, tensors = (int(word) for word in (sys.argv[1:] + ["512", "100"][len(sys.argv) - 1 :])[:2])
    plans = [SavePlan([item(number, rank, ranks) for number in range(tensors)], planner_data={}) for rank in range(ranks)]
    begin = time.process_time()
    DefaultSavePlanner().create_global_plan(plans)
    print(f"{ranks} ranks, {tensors} tensors: {time.process_time() - begin:.2f} s")


if __name__ == "__main__":
    main()
