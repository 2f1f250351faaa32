"""An adapter of PyTorch's fully_shard with a single feature: it saves sharded models, and gathers what was saved."""
import copy

import shardcts_models
import torch
import torch.distributed as dist
from shardcts import operation
from shardcts.torch_values import GroupRegistry, MeshRegistry, TensorConversion
from shardcts.values import Handle
from torch.distributed.fsdp import fully_shard


class GatherOnly:
    name, version, capabilities = "gather_only", "1.0", ["core", "dtensor", "fsdp2", "-fsdp2.load", "layout.pytorch"]

    def __init__(self, rank, world_size, device, options):
        store = dist.FileStore(options["store"], world_size)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=world_size)
        self.tensors = TensorConversion(MeshRegistry(device, world_size), GroupRegistry(device))
        self.models = []

    @operation("implementation.seed")
    def seed(self, seed):
        torch.manual_seed(seed)

    @operation("model.build")
    def build(self, model, args=None, device="cpu"):
        self.models.append(shardcts_models.build(model, args, device))
        return Handle("model", len(self.models) - 1)

    @operation("model.copy")
    def copy(self, model):
        self.models.append(copy.deepcopy(self.models[model.id]))
        return Handle("model", len(self.models) - 1)

    @operation("model.broadcast_parameters")
    def broadcast_parameters(self, model, src):
        for parameter in self.models[model.id].parameters():
            dist.broadcast(parameter.detach(), src)

    @operation("model.wrap")
    def wrap(self, model, path, wrapper, options=None):
        fully_shard(self.models[model.id].get_submodule(path))

    @operation("model.state_dict")
    def state_dict(self, model):
        return {name: self.tensors.to_value(saved) for name, saved in self.models[model.id].state_dict().items()}

    @operation("model.parameters")
    def parameters(self, model, remove_duplicate=True):
        named = self.models[model.id].named_parameters(remove_duplicate=remove_duplicate)
        return {name: self.tensors.to_value(parameter) for name, parameter in named}

    @operation("tensor.full")
    def full(self, value):
        return self.tensors.to_torch(value).full_tensor()

    @operation("tensor.to")
    def to(self, value, device):
        return value.to(device)
