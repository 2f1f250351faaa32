"""What the ranks of a Python adapter have in common: loaded once, in the process that they are forked from.

Modules of PyTorch only, and for PyTorch's own adapter that one: foreign modules may start threads or open devices, and
neither survives a fork.
"""

from __future__ import annotations

import gc
import importlib
import os

_PYTORCH = (
    "torch",
    "torch.distributed.fsdp",
    "torch.distributed.tensor",
    "torch.distributed.tensor.parallel",
    "torch._dynamo",  # imported by the first call of a function that dynamo must not trace: 0.7 s in every rank
    "torch._dynamo.backends.common",  # these two by the first compilation, 1.4 s where ranks share processors
    "torch.distributed.tensor.experimental",
)


def preload(adapter_module: str) -> None:
    """Starts no threads, opens no devices."""
    # Packages that bring device types would be imported with torch, though these ranks run on the CPU.
    os.environ.setdefault("TORCH_DEVICE_BACKEND_AUTOLOAD", "0")
    gc.disable()  # what is imported stays: looking for garbage would take a sixth of the time
    for name in _PYTORCH:
        importlib.import_module(name)
    if adapter_module == "shardcts.torch_adapter":
        importlib.import_module(adapter_module)
    # Collections in the ranks leave these objects alone, so their memory stays shared.
    gc.collect()
    gc.freeze()
    gc.enable()
