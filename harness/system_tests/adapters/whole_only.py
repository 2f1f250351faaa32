"""PyTorch without ShardedTensor: an operation that shows or takes one fails, as in a library that does not have it."""

from shardcts.torch_adapter import TorchAdapter
from shardcts.torch_values import TensorConversion
from shardcts.values import ShardedTensorValue
from torch.distributed._shard.sharded_tensor import ShardedTensor


class WithoutShardedTensors(TensorConversion):
    def to_value(self, tensor):
        if isinstance(tensor, ShardedTensor):
            raise TypeError("no ShardedTensor here")
        return super().to_value(tensor)

    def to_torch(self, value):
        if isinstance(value, ShardedTensorValue):
            raise TypeError("no ShardedTensor here")
        return super().to_torch(value)


class WholeOnly(TorchAdapter):
    name, version = "whole state dicts only", "1"
    conversion = WithoutShardedTensors
    capabilities = [name for name in TorchAdapter.capabilities if name != "sharded_tensor"]
