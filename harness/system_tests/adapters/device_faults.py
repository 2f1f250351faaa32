"""PyTorch's adapter with one fault of a kind that needs an accelerator: the option fault names it. A machine without one
cannot show it; hostdev, the emulated accelerator, does. Faults of waiting: wait_faults.py."""

import ctypes

import torch
from torch.distributed.fsdp import CPUOffloadPolicy
from torch.distributed.tensor import DTensor

from shardcts import torch_fully_shard, torch_values
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
            torch_fully_shard._offload_policy = lambda policy: CPUOffloadPolicy(pin_memory=False)

    @operation("tensor.fill")
    def tensor_fill(self, value, scalar):
        if self._fault != "host_writes_device_memory":
            return super().tensor_fill(value, scalar)
        for part in self._parts(value):
            if part.dtype == torch.float32 and part.is_contiguous() and part.numel():
                (ctypes.c_float * part.numel()).from_address(part.data_ptr())[:] = [scalar] * part.numel()

    def _parts(self, value):
        entries = value.values() if isinstance(value, dict) else [value]
        return [part for entry in entries for part in local_parts(self.tensors.to_torch(entry))]

    @operation("tensor.full")
    def tensor_full(self, value):
        whole = super().tensor_full(value)
        return self._read_by_the_host(whole) if self._fault == "host_reads_device_memory" else whole

    def _read_by_the_host(self, value):
        """A copy, as a host that knows one memory only makes it."""
        if isinstance(value, dict):
            return {name: self._read_by_the_host(entry) for name, entry in value.items()}
        if not isinstance(value, torch.Tensor) or not value.is_contiguous() or not value.numel():
            return value
        data = bytearray(ctypes.string_at(value.data_ptr(), value.nbytes))
        return torch.frombuffer(data, dtype=value.dtype).view(value.shape).to(value.device)

    @operation("model.state_dict")
    def model_state_dict(self, model, prefix="", path=""):
        if self._fault == "device_without_index_is_another":
            module = self.model_of(model)
            place = torch.device(self.device.type)  # the index is missing: "cuda" is not "cuda:0"
            hook = module.register_state_dict_post_hook(lambda _, found, *rest: self._moved(found, place))
            try:
                return super().model_state_dict(model, prefix, path)
            finally:
                hook.remove()
        return super().model_state_dict(model, prefix, path)

    @staticmethod
    def _moved(state_dict, place):
        for name, value in state_dict.items():
            local = value.to_local() if isinstance(value, DTensor) else value
            if local.device != place and local.device.type != "meta":
                state_dict[name] = value.clone()

    @operation("model.backward")
    def model_backward(self, model, output, reduction=None, gradient=None):
        if self._fault == "group_rank_is_taken_for_the_device" and self.device.type != "cpu" and gradient is not None:
            group_rank = torch.distributed.get_rank() % 2  # of the inner groups of a mesh [2, 2]
            gradient = gradient.to(torch.device(self.device.type, group_rank))
        return super().model_backward(model, output, reduction, gradient)

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
        return tree.to(self.device) if isinstance(tree, torch.Tensor) and tree.dim() == 0 else tree
