"""What PyTorch finds as torch.hostdev: the functions of a device type that frameworks call."""

from __future__ import annotations

import contextlib

import torch

from shardcts_hostdev import _hostdev


def _device_index(device) -> int:
    if device is None:
        return current_device()
    if isinstance(device, int):
        return device
    index = torch.device(device).index
    return current_device() if index is None else index


def is_available() -> bool:
    return True


def is_initialized() -> bool:
    return True


def _lazy_init() -> None:
    pass


def _is_in_bad_fork() -> bool:
    return False


def device_count() -> int:
    return _hostdev.device_count()


def get_device_name(device=None) -> str:
    return f"hostdev, ShardCTS's emulated accelerator over host memory (no GPU): {_hostdev.settings()}"


def current_device() -> int:
    return torch._C._accelerator_getDeviceIndex()


def set_device(device) -> None:
    torch._C._accelerator_setDeviceIndex(_device_index(device))


def synchronize(device=None) -> None:
    torch._C._accelerator_synchronizeDevice(_device_index(device))


class device(contextlib.ContextDecorator):
    def __init__(self, device):
        self._index = _device_index(device)

    def __enter__(self):
        self._before = current_device()
        set_device(self._index)
        return self

    def __exit__(self, *_):
        set_device(self._before)


class Stream(torch.Stream):
    def __new__(cls, device=None, priority=0, **kwargs):
        if kwargs:
            return super().__new__(cls, **kwargs)
        return super().__new__(cls, torch.device("hostdev", _device_index(device)), priority=priority)


class Event(torch.Event):
    def __new__(cls, enable_timing=False, blocking=False, interprocess=False):
        return super().__new__(cls, torch.device("hostdev"), enable_timing=enable_timing)


def current_stream(device=None) -> torch.Stream:
    return torch._C._accelerator_getStream(_device_index(device))


def default_stream(device=None) -> torch.Stream:
    return torch.Stream(stream_id=0, device_index=_device_index(device), device_type=current_stream(device).device_type)


def set_stream(stream) -> None:
    torch._C._accelerator_setStream(stream)


@contextlib.contextmanager
def stream(stream):
    """The block's work goes to that stream."""
    if stream is None:
        yield
        return
    before = current_stream(stream.device)
    set_stream(stream)
    try:
        yield
    finally:
        set_stream(before)


# One generator for all devices, the CPU's.
def manual_seed(seed: int) -> None:
    torch.default_generator.manual_seed(seed)


manual_seed_all = manual_seed


def get_rng_state(device=None) -> torch.Tensor:
    return torch.default_generator.get_state()


def set_rng_state(state: torch.Tensor, device=None) -> None:
    torch.default_generator.set_state(state)


def get_amp_supported_dtype() -> list[torch.dtype]:
    return [torch.bfloat16, torch.float16]


def memory_allocated(device=None) -> int:
    return torch.accelerator.memory_allocated(_device_index(device))


def max_memory_allocated(device=None) -> int:
    return torch.accelerator.max_memory_allocated(_device_index(device))


def reset_peak_memory_stats(device=None) -> None:
    torch.accelerator.reset_peak_memory_stats(_device_index(device))


def empty_cache() -> None:
    torch.accelerator.empty_cache()
