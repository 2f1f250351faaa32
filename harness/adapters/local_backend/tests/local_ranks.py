"""One rank of test_local_backend.py: local_ranks.py CASE,… RANK SIZE STORE. Values are coded by rank, expectations are closed
formulas."""

import math
import os
import sys

import torch
import torch.distributed as dist
from torch.distributed import _functional_collectives as functional

import shardcts_local  # registers the backend

cases, rank, size = sys.argv[1].split(","), int(sys.argv[2]), int(sys.argv[3])
store = dist.FileStore(sys.argv[4], size)
dist.init_process_group("local", store=store, rank=rank, world_size=size)


def code(of: int, count: int = 4) -> torch.Tensor:
    return torch.arange(count, dtype=torch.float32) + 100 * of


def same(actual: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    assert torch.equal(actual, expected), f"rank {rank}: {what}: expected {expected}, actual {actual}"


def total(count: int = 4) -> torch.Tensor:
    return sum(code(r, count) for r in range(size))


def collectives() -> None:
    t = code(rank)
    dist.all_reduce(t)
    same(t, total(), "all_reduce")
    t = code(rank)
    dist.all_reduce(t, dist.ReduceOp.MAX)
    same(t, code(size - 1), "all_reduce max")
    transposed = torch.stack([code(rank), code(rank)]).t()
    dist.all_reduce(transposed, dist.ReduceOp.AVG)
    same(transposed, torch.stack([total() / size] * 2).t(), "all_reduce avg, not contiguous")
    t = code(rank)
    dist.broadcast(t, size - 1)
    same(t, code(size - 1), "broadcast")
    t = code(rank)
    dist.reduce(t, 0)
    same(t, total() if rank == 0 else code(rank), "reduce")
    parts = [torch.empty(r + 1) for r in range(size)]
    dist.all_gather(parts, code(rank, rank + 1))
    for r, part in enumerate(parts):
        same(part, code(r, r + 1), "all_gather, uneven")
    whole = torch.empty(4 * size)
    dist.all_gather_into_tensor(whole, code(rank))
    same(whole, torch.cat([code(r) for r in range(size)]), "all_gather_into_tensor")
    mine = torch.empty(4)
    dist.reduce_scatter_tensor(mine, code(rank, 4 * size))
    same(mine, total(4 * size)[4 * rank:4 * rank + 4], "reduce_scatter_tensor")
    dist.reduce_scatter(mine, [code(rank) + r for r in range(size)])
    same(mine, total() + size * rank, "reduce_scatter")
    rows = [torch.empty(4) for _ in range(size)] if rank == 0 else None
    dist.gather(code(rank), rows, 0)
    for r, row in enumerate(rows or []):
        same(row, code(r), "gather")
    dist.scatter(mine, [code(r) for r in range(size)] if rank == 0 else None, 0)
    same(mine, code(rank), "scatter")
    received = torch.empty(size)
    dist.all_to_all_single(received, torch.arange(size, dtype=torch.float32) + 10 * rank)
    same(received, torch.arange(size, dtype=torch.float32) * 10 + rank, "all_to_all_single")
    sent = torch.cat([code(10 * rank + r, r + 1) for r in range(size)])
    received = torch.empty(size * (rank + 1))
    dist.all_to_all_single(received, sent, [rank + 1] * size, [r + 1 for r in range(size)])
    same(received, torch.cat([code(10 * r + rank, rank + 1) for r in range(size)]), "all_to_all_single, uneven")
    parts = [torch.empty(r + rank) for r in range(size)]
    dist.all_to_all(parts, [code(10 * rank + r, r + rank) for r in range(size)])
    for r, part in enumerate(parts):
        same(part, code(10 * r + rank, r + rank), "all_to_all")
    said = [None] * size
    dist.all_gather_object(said, {"rank": rank})
    assert said == [{"rank": r} for r in range(size)], said
    told = [{"of": "rank 0"} if rank == 0 else None]
    dist.broadcast_object_list(told, 0)
    assert told == [{"of": "rank 0"}], told
    dist.barrier()


def dtypes() -> None:
    for dtype in (torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.uint8):
        t = code(rank).to(dtype)
        dist.all_reduce(t)
        same(t, total().to(dtype), f"all_reduce of {dtype}")
    for kind in (dist.ReduceOp.SUM, dist.ReduceOp.MAX):
        t = torch.tensor([rank == 0, False])
        dist.all_reduce(t, kind)
        same(t, torch.tensor([True, False]), f"all_reduce of bool, {kind}")
    t = torch.tensor([float(rank + 1)])
    dist.all_reduce(t, dist.ReduceOp.PRODUCT)
    same(t, torch.tensor([float(math.factorial(size))]), "all_reduce, product")


def coalesced() -> None:
    tensors = [code(rank), code(rank + 1, 3)]
    dist.all_reduce_coalesced(tensors)
    same(tensors[1], sum(code(r + 1, 3) for r in range(size)), "all_reduce_coalesced")
    mine = [code(rank), code(rank + 50, 3)]
    gathered = [g.wait() for g in functional.all_gather_into_tensor_coalesced(mine, list(range(size)))]
    same(gathered[1], torch.cat([code(r + 50, 3) for r in range(size)]), "all_gather_into_tensor_coalesced")
    reduced = functional.reduce_scatter_tensor_coalesced([code(rank, 2 * size)], "sum", [0], list(range(size)))
    same(reduced[0].wait(), total(2 * size)[2 * rank:2 * rank + 2], "reduce_scatter_tensor_coalesced")
    same(functional.all_reduce(code(rank), "sum", list(range(size))).wait(), total(), "functional all_reduce")


LARGE = 300_000  # floats: more than a channel between two ranks holds


def messages() -> None:
    left, right = (rank - 1) % size, (rank + 1) % size
    if size > 1:
        if rank == 0:
            dist.send(code(7), 1)
        elif rank == 1:
            received = torch.empty(4)
            dist.recv(received, 0)
            same(received, code(7), "send and recv")
        for receives_first in (True, False):  # on all ranks alike: nothing waits before both are asked for
            received = torch.empty(LARGE)
            asked = [dist.P2POp(dist.irecv, received, left), dist.P2POp(dist.isend, code(rank, LARGE), right)]
            works = dist.batch_isend_irecv(asked if receives_first else asked[::-1])
            total_meanwhile = code(rank)
            dist.all_reduce(total_meanwhile)  # collectives go on while messages are under way
            same(total_meanwhile, total(), "all_reduce while messages are under way")
            for work in works:
                work.wait()
            same(received, code(left, LARGE), "batch_isend_irecv")
        second = torch.empty(4)
        works = [dist.isend(code(rank), right, tag=1), dist.isend(code(rank + 1), right, tag=2),
                 dist.irecv(second, left, tag=2)]
        for work in works:
            work.wait()
        same(second, code(left + 1), "a message with another tag")
        dist.recv(second, left, tag=1)
        same(second, code(left), "the message that came before")
    dist.barrier()


def groups() -> None:
    pairs = [dist.new_group([r, (r + 1) % size]) for r in range(size if size > 1 else 0)]
    for first, pair in enumerate(pairs):
        if rank not in (first, (first + 1) % size):
            continue
        t = code(rank)
        dist.all_reduce(t, group=pair)
        same(t, code(first) + code((first + 1) % size), f"all_reduce in group {first}")


    for _ in range(50):  # made and destroyed: nothing of them stays
        group = dist.new_group(list(range(size)))
        t = code(rank)
        dist.all_reduce(t, group=group)
        same(t, total(), "all_reduce in a group of its own")
        dist.destroy_process_group(group)
    assert len(os.listdir("/proc/self/fd")) < 200, "files of groups stay open"


def held_back(what: str, begin, look) -> None:
    """Rank 0 begins when the others have begun and looked, so that what they see does not depend on who is fast."""
    if rank == 0:
        store.wait([f"{what} {r}" for r in range(1, size)])
        begin()
        return
    begin()
    look()
    store.set(f"{what} {rank}", "seen")


def late() -> None:
    works, t, whole = [], code(rank), torch.zeros(4 * size)

    def begin():
        works.append((dist.all_reduce(t, async_op=True), t, total()))
        works.append((dist.all_gather_into_tensor(whole, code(rank), async_op=True), whole,
                      torch.cat([code(r) for r in range(size)])))

    def look():
        assert t.isnan().all() and whole.isnan().all(), (t, whole)

    held_back("late", begin, look)
    for work, actual, expected in works:
        work.wait()
        same(actual, expected, "a late collective")
    collectives()
    coalesced()
    messages()


def inputs_are_read_late() -> None:
    whole, mine = torch.zeros(4 * size), code(rank)
    works = []

    def begin():
        works.append(dist.all_reduce(code(rank), async_op=True))
        works.append(dist.all_gather_into_tensor(whole, mine, async_op=True))  # behind the other one

    held_back("inputs", begin, lambda: mine.fill_(-1))  # a fault: it is still to be read
    for work in works:
        work.wait()
    same(whole, torch.cat([code(0)] + [torch.full((4,), -1.0)] * (size - 1)), "what was read late")


def delayed() -> None:
    works, whole, in_time = [], torch.zeros(4 * size), code(rank)

    def begin():
        shardcts_local.set_delay(rank, 5)
        works.append(dist.all_gather_into_tensor(whole, code(rank), async_op=True))
        shardcts_local.set_delay(rank, None)
        works.append(dist.all_reduce(in_time, async_op=True))  # behind the one that is late

    def look():
        assert whole.isnan().all(), whole
        same(in_time, code(rank), "a tensor of a call in time")

    held_back("delayed", begin, look)
    works[1].wait()
    assert works[0].is_completed()
    same(whole, torch.cat([code(r) for r in range(size)]), "a late collective")
    same(in_time, total(), "a collective in time")


def ends(on_command: str) -> None:
    """The second call does on rank 0, as it was told, and so for its peers."""
    dist.all_reduce(code(rank))
    try:
        dist.all_reduce(code(rank))
    except RuntimeError as error:
        expected = on_command if rank == 0 else "rank 0 has ended"
        assert expected in str(error), error
        os._exit(7)  # the peers' wait ends at once: this rank's process is gone
    sys.exit(f"not {on_command}")


def fails() -> None:
    ends("fails on command")


def aborts() -> None:
    ends("aborted on command")


def aborts_what_waits() -> None:
    if rank == 0:
        work = dist.irecv(torch.empty(4), 1)  # that never comes
        dist.group.WORLD.abort()
        try:
            work.wait()
        except RuntimeError as error:
            assert "the process group is aborted" in str(error), error
            os._exit(7)
        sys.exit("it is not aborted")
    os._exit(7)


for case in cases:
    globals()[case]()
dist.destroy_process_group()
