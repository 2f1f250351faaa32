"""FSDP1's SHARDED state dicts with pieces that are not those of the ranks that give them, on two ranks:
`pieces_of_other_ranks.py DIR`. Exit code 1: they are loaded without an error, and the values are at wrong places.

What a ShardedTensor says of the place of a piece is not read: each rank takes the one that it was given for its own. Of
optimizer state the first piece of a rank is taken, and the others are lost."""

import sys

import torch
import torch.distributed as dist
import torch.multiprocessing
from torch.distributed._shard.sharded_tensor import Shard, ShardedTensor
from torch.distributed._shard.sharding_spec import ShardMetadata
from torch.distributed.fsdp import FullyShardedDataParallel as FSDP
from torch.distributed.fsdp import StateDictType

RANKS, ROWS, WIDTH = 2, 8, 2


def pieces(whole: torch.Tensor, owners: list[int]) -> ShardedTensor:
    """A tensor whose k-th piece of equal size the rank owners[k] has."""
    rows = ROWS // len(owners)
    local = [Shard(whole[k * rows : (k + 1) * rows].clone(),
                   ShardMetadata([k * rows, 0], [rows, WIDTH], f"rank:{owner}/cpu"))
             for k, owner in enumerate(owners) if owner == dist.get_rank()]
    return ShardedTensor._init_from_local_shards(local, ROWS, WIDTH)


def outcome(load, read, whole: torch.Tensor) -> str:
    try:
        load()
    except Exception as error:
        return type(error).__name__
    return "right" if torch.equal(read(), whole) else f"loaded, the first column is {read()[:, 0].tolist()}"


def rank_main(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=RANKS)
    model = FSDP(torch.nn.Linear(WIDTH, ROWS, bias=False), device_id=torch.device("cpu"))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, WIDTH)).sum().backward()
    optimizer.step()
    whole = torch.arange(ROWS * WIDTH, dtype=torch.float32).reshape(ROWS, WIDTH)

    def full():
        with FSDP.state_dict_type(model, StateDictType.FULL_STATE_DICT):
            return model.state_dict()["weight"], FSDP.optim_state_dict(model, optimizer)["state"]["weight"]["exp_avg"]

    def load_optimizer(given):
        with FSDP.state_dict_type(model, StateDictType.SHARDED_STATE_DICT):
            state = FSDP.optim_state_dict(model, optimizer)
            state["state"]["weight"]["exp_avg"] = given
            optimizer.load_state_dict(FSDP.optim_state_dict_to_load(model, optimizer, state))

    def load_model(given):
        with FSDP.state_dict_type(model, StateDictType.SHARDED_STATE_DICT):
            model.load_state_dict({"weight": given})

    wrong = 0
    for text, owners in {"in the opposite order": [1, 0], "two of each rank": [0, 0, 1, 1]}.items():
        for index, (what, load) in enumerate({"model": load_model, "optimizer": load_optimizer}.items()):
            given = pieces(whole, owners)
            found = outcome(lambda: load(given), lambda: full()[index], whole)
            wrong += found.startswith("loaded")
            if rank == 0:
                print(f"{what}, pieces {text}: {found}", flush=True)
            dist.barrier()
    sys.exit(int(wrong > 0))


def main(folder: str) -> int:
    context = torch.multiprocessing.get_context("spawn")
    ranks = [context.Process(target=rank_main, args=(rank, folder)) for rank in range(RANKS)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(timeout=120)
    return max(process.exitcode or 0 for process in ranks)


if __name__ == "__main__":
    print(f"PyTorch {torch.__version__}", flush=True)
    sys.exit(main(*sys.argv[1:]))
