"""The smallest useful adapter: plain models on one rank, nothing sharded."""

import torch

import shardcts_models
from shardcts import operation
from shardcts.values import Handle


class MinimalAdapter:
    name, version = "minimal", "1.0"
    capabilities = ["core"]

    def __init__(self, rank, world_size, device, options):
        self._models = []

    @operation("implementation.reset")
    def reset(self):
        self._models.clear()

    @operation("implementation.seed")
    def seed(self, seed):
        torch.manual_seed(seed)

    @operation("model.build")
    def build(self, model, args=None, device="cpu"):
        self._models.append(shardcts_models.build(model, args, device))
        return Handle("model", len(self._models) - 1)

    @operation("model.parameters")
    def parameters(self, model, remove_duplicate=True):
        return dict(self._models[model.id].named_parameters(remove_duplicate=remove_duplicate))

    @operation("model.state_dict")
    def state_dict(self, model):
        return self._models[model.id].state_dict()

    @operation("model.load_state_dict")
    def load_state_dict(self, model, state_dict, strict=True, assign=False):
        result = self._models[model.id].load_state_dict(state_dict, strict=strict, assign=assign)
        return {"missing_keys": result.missing_keys, "unexpected_keys": result.unexpected_keys}
