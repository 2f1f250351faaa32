"""Defects of torchsnapshot 2024.7.26 that the suite storage led to, each alone: `python torchsnapshot_defects.py`
shows them on two ranks. Exit code 1 when one does not show any more.
"""

import logging
import os
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing
from defects_on_ranks import error_of, show, start
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torchsnapshot import Snapshot, StateDict, snapshot


def sharded(whole: torch.Tensor, placement=None) -> DTensor:
    return distribute_tensor(whole, dist.init_device_mesh("cpu", (2,)), [placement or Shard(0)])


def replicated_dtensor(path: str) -> str:
    """_get_merged_dtensor_entries leaves replicated DTensors out, _get_manifest_for_existing_rank looks them up there."""
    Snapshot.take(path, {"state": StateDict(weight=sharded(torch.ones(4), Replicate()))})
    return error_of(lambda: Snapshot(path).restore({"state": StateDict(weight=sharded(torch.zeros(4), Replicate()))}))


def dtensor_without_dimensions(path: str) -> str:
    """_get_largest_shard_dim takes the argmax of an empty shape."""
    return error_of(lambda: Snapshot.take(path, {"state": StateDict(number=sharded(torch.tensor(1.0), Replicate()))}))


def empty_shard(path: str) -> str:
    """subdivide_shard divides by the number of rows, which is 0 on ranks that have none."""
    # The other rank would wait for this one until its group's time is over: both meet the error, where none has a row.
    return error_of(lambda: Snapshot.take(path, {"state": StateDict(weight=sharded(torch.ones(0, 3)))}))


def tensor_without_elements(path: str) -> str:
    """tensor_as_memoryview casts what memoryview cannot cast: a shape of several dimensions with a zero."""
    return error_of(lambda: Snapshot.take(path, {"state": StateDict(rows=torch.ones(0, 3))}))


def odd_bfloat16(path: str) -> str:
    """_tensor_as_memoryview_via_untyped_storage makes a float32 tensor of the bytes: the last two of 6 do not fit in."""
    return error_of(lambda: Snapshot.take(path, {"state": StateDict(weight=torch.ones(3, dtype=torch.bfloat16))}))


def short_file(path: str) -> str:
    """BatchedBufferConsumer awaits asyncio.wait, which raises nothing: what a consumer raises is lost, and so are the values."""
    state = {"state": StateDict(weight=torch.ones(100))}
    Snapshot.take(path, state)
    dist.barrier()
    for file in Path(path, "batched").iterdir():
        os.truncate(file, 200)
    dist.barrier()
    loaded = StateDict(weight=torch.full((100,), -1.0))
    if error_of(lambda: Snapshot(path).restore({"state": loaded})):
        return ""
    lost = int((loaded["weight"] != 1).sum())
    return f"no error, {lost} of 100 values are not the saved ones" if lost else ""


def group_without_rank_0(path: str) -> str:
    """PGWrapper.broadcast_object_list takes 0, the rank in the group, for the global one."""
    group = dist.new_group([1])
    state = {"state": StateDict(weight=torch.ones(4))}
    return error_of(lambda: Snapshot.take(path, state, pg=group) if dist.get_rank() == 1 else None)


def tensor_of_the_second_rank(path: str) -> str:
    """_partition_write_loads hands out rank 0's names only. Of other names with "partial replicas", which a matrix in rows is
    taken for, nothing is written, and the manifest lacks them."""
    mesh = DeviceMesh("cpu", [1])
    state = StateDict(number=1)
    if dist.get_rank() == 1:
        state["weight"] = distribute_tensor(torch.ones(4, 3), mesh, [Shard(0)])
    problem = error_of(lambda: Snapshot.take(path, {"state": state}))
    dist.barrier()
    kept = any(place.endswith("state/weight") for place in Snapshot(path).get_manifest()) if not problem else True
    return problem or ("" if kept else "no error, and weight is not in the snapshot")


def rank_outside_the_mesh(path: str) -> str:
    """prepare_read takes what PyTorch answers for a rank outside, a local shape of one dimension, for a place in the tensor."""
    Snapshot.take(path, {"state": StateDict(weight=sharded(torch.ones(4, 3)))})
    wanted = distribute_tensor(torch.zeros(4, 3), DeviceMesh("cpu", [1]), [Shard(0)])
    dist.barrier()
    return error_of(lambda: Snapshot(path).read_object("0/state/weight", wanted) if dist.get_rank() == 0 else None)


def end_before_the_metadata(path: str) -> str:
    """No barrier follows the write of the metadata by rank 0: take ends on other ranks while the snapshot cannot be read."""
    write = snapshot.Snapshot._write_snapshot_metadata

    def write_slowly(*arguments, **options):
        time.sleep(0.5)
        write(*arguments, **options)

    snapshot.Snapshot._write_snapshot_metadata = staticmethod(write_slowly)
    Snapshot.take(path, {"state": StateDict(weight=torch.ones(4))})
    snapshot.Snapshot._write_snapshot_metadata = staticmethod(write)
    return error_of(lambda: Snapshot(path).get_manifest())


def warning_of_equal_shapes(path: str) -> str:
    """A torch.Size is compared with a list: they are never equal."""
    warnings: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: warnings.append(record.getMessage())
    logging.getLogger("torchsnapshot").addHandler(handler)
    Snapshot.take(path, {"state": StateDict(weight=sharded(torch.ones(4)))})
    Snapshot(path).restore({"state": StateDict(weight=sharded(torch.zeros(4)))})
    logging.getLogger("torchsnapshot").removeHandler(handler)
    return next((warning for warning in warnings if "is different from" in warning), "")


DEFECTS = [replicated_dtensor, dtensor_without_dimensions, empty_shard, tensor_without_elements, odd_bfloat16, short_file,
           group_without_rank_0, tensor_of_the_second_rank, rank_outside_the_mesh, end_before_the_metadata,
           warning_of_equal_shapes]


def rank_main(rank: int, folder: str) -> None:
    start(rank, 2, os.path.join(folder, "store"), timeout_s=30)
    for noisy in ("torchsnapshot", "asyncio"):  # which logs the errors of tasks that nobody asks for them
        logging.getLogger(noisy).addHandler(logging.NullHandler())
    show(DEFECTS, lambda defect: defect(os.path.join(folder, defect.__name__)))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(rank_main, (folder,), 2)
