"""PyTorch's adapter, whose rank 1 does not reach its peers at some starts: "starts=FILE,at=2+3"."""

import pathlib

from shardcts.torch_adapter import TorchAdapter


class FailingStarts(TorchAdapter):
    version = "1"

    def __init__(self, rank, world_size, device, options):
        counted, at = pathlib.Path(options.pop("starts")), options.pop("at").split("+")
        if rank == 1:
            start = len(counted.read_text()) + 1 if counted.exists() else 1
            counted.write_text("." * start)
            if str(start) in at:
                raise RuntimeError("connectFullMesh failed: Connection closed by peer")
        super().__init__(rank, world_size, device, options)
