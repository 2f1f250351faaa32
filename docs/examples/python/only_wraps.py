"""The adapter of a library that only wraps: a trainer whose prepare() calls PyTorch's fully_shard on what it chooses."""

from shardcts.pytorch import FullyShardOperations, PyTorchAdapter, StateDictApiOperations
from torch.distributed.fsdp import fully_shard

TRAINER_VERSION = "2.1"


class Trainer:
    """Stands for the library."""

    def prepare(self, model, units=("",), **options):
        for path in units:
            fully_shard(model.get_submodule(path), **options)
        return model

    def prepare_optimizer(self, optimizer):
        return optimizer


class OnlyWraps(FullyShardOperations, StateDictApiOperations, PyTorchAdapter):
    name = "trainer"
    version = TRAINER_VERSION
    based_on = "torch"  # what is known of PyTorch holds for it
    capabilities = ["core", "dtensor", "fsdp2", "hsdp", "meta_device", "cpu_offload_policy", "optimizer", "dsd",
                    "activation_checkpoint", "serialization", "inspection"]

    def wrap(self, root, path, wrapper, options):
        if wrapper != "fully_shard":
            return super().wrap(root, path, wrapper, options)
        return Trainer().prepare(root, [path], **self.fully_shard_arguments(options))

    def make_optimizer(self, module, optimizer_class, groups, arguments):
        return Trainer().prepare_optimizer(super().make_optimizer(module, optimizer_class, groups, arguments))
