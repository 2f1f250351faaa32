"""PyTorch's adapter, which declares what the option says: "declares=fsdp1+-fsdp1.local", beside what else is needed."""

from shardcts.torch_adapter import TorchAdapter


class Parts(TorchAdapter):
    def __init__(self, rank, world_size, device, options):
        self.capabilities = ["core", "optimizer", "sharded_tensor", *options.pop("declares").split("+")]
        super().__init__(rank, world_size, device, options)
