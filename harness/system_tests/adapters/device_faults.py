"""PyTorch with one fault of a kind that needs an accelerator: the option fault names it. A machine without one cannot show
it; hostdev, the emulated accelerator, does."""

import ctypes

import torch
from torch.distributed.fsdp import CPUOffloadPolicy
from torch.distributed.tensor import DTensor

from shardcts import torch_models, torch_values
from shardcts.adapter import operation
from shardcts.torch_adapter import TorchAdapter
from shardcts.torch_tensors import local_parts


def _moved_to_the_mesh(local, mesh, placements, meta):
    return DTensor.from_local(local, mesh, placements, run_check=False, shape=meta.shape, stride=meta.stride)


class DeviceFaults(TorchAdapter):
    name = "torch with a fault"

    def __init__(self, rank, world_size, device, options):
        super().__init__(rank, world_size, device, options)
        self._fault = options.get("fault", "")
        if self._fault == "offloaded_shards_move_back":
            torch_values._dtensor = _moved_to_the_mesh
        if self._fault == "pinning_is_left_out":
            torch_models._offload_policy = lambda policy: CPUOffloadPolicy(pin_memory=False)

    @operation("tensor.full")
    def tensor_full(self, value):
        if self._fault != "stream_is_not_waited_for":
            return super().tensor_full(value)
        module = torch.get_device_module(self._device)
        side = module.Stream()
        if hasattr(side, "wait_stream"):
            side.wait_stream(module.current_stream())
        with module.stream(side):
            return super().tensor_full(value)

    @operation("tensor.fill")
    def tensor_fill(self, value, scalar):
        if self._fault != "host_writes_device_memory":
            return super().tensor_fill(value, scalar)
        for part in self._parts(value):
            if part.dtype == torch.float32 and part.is_contiguous() and part.numel():
                (ctypes.c_float * part.numel()).from_address(part.data_ptr())[:] = [scalar] * part.numel()

    def _parts(self, value):
        entries = value.values() if isinstance(value, dict) else [value]
        return [part for entry in entries for part in local_parts(self._tensors.to_torch(entry))]

    @operation("tensor.to")
    def tensor_to(self, value, device):
        if self._fault == "copy_is_not_waited_for" and device == "cpu" and isinstance(value, torch.Tensor):
            return torch.empty_like(value, device="cpu").pin_memory().copy_(value.detach(), non_blocking=True)
        return super().tensor_to(value, device)

    @operation("dsd.get_model_state_dict")
    def dsd_get_model_state_dict(self, model, submodules=None, options=None, distributed=True):
        if self._fault == "offload_is_left_out":
            options = {**(options or {}), "cpu_offload": False}
        return super().dsd_get_model_state_dict(model, submodules, options, distributed)

    @operation("dsd.get_state_dict")
    def dsd_get_state_dict(self, model, optimizers, submodules=None, options=None, distributed=True):
        if self._fault == "offload_is_left_out":
            options = {**(options or {}), "cpu_offload": False}
        found = super().dsd_get_state_dict(model, optimizers, submodules, options, distributed)
        return self._scalars_on_device(found) if self._fault == "scalars_stay_on_the_device" else found

    @operation("dsd.get_optimizer_state_dict")
    def dsd_get_optimizer_state_dict(self, model, optimizers, submodules=None, options=None, distributed=True):
        found = super().dsd_get_optimizer_state_dict(model, optimizers, submodules, options, distributed)
        return self._scalars_on_device(found) if self._fault == "scalars_stay_on_the_device" else found

    def _scalars_on_device(self, tree):
        if isinstance(tree, dict):
            return {key: self._scalars_on_device(value) for key, value in tree.items()}
        return tree.to(self._device) if isinstance(tree, torch.Tensor) and tree.dim() == 0 else tree
