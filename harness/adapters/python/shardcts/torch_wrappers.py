"""The wrappers that PyTorch has whatever shards the model: activation checkpoint, DDP, replicate, compile."""

from __future__ import annotations

import functools

import torch
from torch import nn
from torch.distributed._composable import replicate
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.nn.parallel import DistributedDataParallel

from shardcts import torch_modules
from shardcts.adapter import NotSupported


class WrapperOperations:
    def wrap(self, root: nn.Module, path: str, wrapper: str, options: dict) -> nn.Module:
        """Applies the wrapper to the module at the path, as model.wrap says. The root to use from now on."""
        if wrapper == "replicate":
            replicate(torch_modules.place_at(root, path).module)
            return root
        makers = {
            "checkpoint": checkpoint_wrapper,
            "ddp": lambda module: self._ddp(module, options),
            "compile": functools.partial(torch.compile, backend="eager"),
        }
        if wrapper not in makers:
            raise NotSupported("wrapper", f"{type(self).__name__} has no {wrapper}")
        return torch_modules.wrap(root, path, makers[wrapper], innermost=options.get("innermost", False))

    def _ddp(self, module: nn.Module, options: dict) -> nn.Module:
        group = self.group_of(options["process_group"]) if "process_group" in options else None
        # PyTorch takes device_ids for a module that is on that device only.
        on_device = {parameter.device for parameter in module.parameters()} == {self.device}
        device_ids = [self.device.index] if on_device and self.device.type != "cpu" else None
        return DistributedDataParallel(module, device_ids=device_ids, process_group=group)
