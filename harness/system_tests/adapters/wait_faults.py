"""PyTorch's adapter with one wait that is missing, or is for the wrong thing: the option fault names it. On the CPU work is
done when a call returns, so nothing is missed there; but collectives of gloo go on by themselves, with backend=local they do
not unless they are delayed."""

import torch
from torch.distributed.fsdp import CPUOffloadPolicy
from torch.distributed.fsdp._fully_shard import _fsdp_param_group

from shardcts import torch_fully_shard
from shardcts.adapter import operation
from shardcts.torch_adapter import TorchAdapter

_ParamGroup = _fsdp_param_group.FSDPParamGroup


def _all_gather_is_not_waited_for():
    gather = _fsdp_param_group.foreach_all_gather

    def without_event(*args, **kwargs):
        result = gather(*args, **kwargs)
        return result and result._replace(all_gather_event=None)

    _fsdp_param_group.foreach_all_gather = without_event


def _collective_is_not_waited_for():
    gather = _fsdp_param_group.foreach_all_gather

    def without_work(params, group, async_op, *args, **kwargs):
        result = gather(params, group, True, *args, **kwargs)
        return result and result._replace(all_gather_work=None)

    _fsdp_param_group.foreach_all_gather = without_work


def _reduced_gradient_is_not_waited_for():
    finalize = _ParamGroup.finalize_backward

    def without_events(group):
        group.comm_ctx._last_post_reduce_events.clear()
        finalize(group)

    _ParamGroup.finalize_backward = without_events


def _offloaded_gradient_is_not_waited_for():
    finalize = _ParamGroup.finalize_backward

    def without_events(group):
        for parameter in group.fsdp_params:
            parameter.grad_offload_event = None
        finalize(group)

    _ParamGroup.finalize_backward = without_events
    torch_fully_shard._offload_policy = lambda policy: CPUOffloadPolicy(pin_memory=True)  # else no copy is under way


_PATCHES = {
    "all_gather_is_not_waited_for": _all_gather_is_not_waited_for,
    "collective_is_not_waited_for": _collective_is_not_waited_for,
    "reduced_gradient_is_not_waited_for": _reduced_gradient_is_not_waited_for,
    "offloaded_gradient_is_not_waited_for": _offloaded_gradient_is_not_waited_for,
}


class WaitFaults(TorchAdapter):
    name = "torch with a fault"

    def __init__(self, rank, world_size, device, options):
        super().__init__(rank, world_size, device, options)
        self._fault = options.get("fault", "")
        self._module = torch.get_device_module(self.device)
        self._staging = None
        _PATCHES.get(self._fault, lambda: None)()

    def _side_stream(self):
        """Whose work comes after what the current stream has; on the CPU there is none."""
        if self.device.type == "cpu":
            return None
        side = self._module.Stream()
        side.wait_stream(self._module.current_stream())
        return side

    @operation("tensor.full")
    def tensor_full(self, value):
        if self._fault == "stream_is_not_waited_for":
            return self._full_on_a_stream(value)
        if self._fault == "event_is_recorded_before_the_work":
            return self._full_after_an_early_event(value)
        return super().tensor_full(value)

    def _full_on_a_stream(self, value):
        with self._module.stream(self._side_stream()):
            return super().tensor_full(value)

    def _full_after_an_early_event(self, value):
        side = self._side_stream()
        if side is None:
            return super().tensor_full(value)
        event = self._module.Event()
        event.record(side)
        with self._module.stream(side):
            whole = super().tensor_full(value)
        self._module.current_stream().wait_event(event)
        return whole

    @operation("tensor.to")
    def tensor_to(self, value, device):
        is_copy_to_host = device == "cpu" and isinstance(value, torch.Tensor) and value.device.type != "cpu"
        if is_copy_to_host and self._fault == "copy_is_not_waited_for":
            return self._pinned_like(value).copy_(value.detach(), non_blocking=True)
        if is_copy_to_host and self._fault == "copy_waits_for_another_stream":
            with self._module.stream(self._side_stream()):
                on_host = self._pinned_like(value).copy_(value.detach(), non_blocking=True)
            self._module.current_stream().synchronize()
            return on_host
        return super().tensor_to(value, device)

    @staticmethod
    def _pinned_like(tensor):
        return torch.empty_like(tensor, device="cpu").pin_memory()

    @operation("model.set_values")
    def model_set_values(self, model, values):
        if self._fault != "staging_buffer_is_reused":
            return super().model_set_values(model, values)
        return super().model_set_values(model, {name: self._through_one_buffer(value) for name, value in values.items()})

    def _through_one_buffer(self, value):
        """The device reads the buffer when it comes to it; by then it holds the next value."""
        if value.device.type != "cpu" or self.device.type == "cpu" or value.dtype != torch.float32 or value.numel() > 4096:
            return value
        if self._staging is None:
            self._staging = torch.empty(4096).pin_memory()
        part = self._staging[:value.numel()].view(value.shape)
        return part.copy_(value).to(self.device, non_blocking=True)
