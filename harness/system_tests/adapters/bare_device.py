"""A vendor's package that brings a device type and has registered no c10d backend for it."""

import sys
import types

import torch

torch.utils.rename_privateuse1_backend("bare")
_module = types.ModuleType("torch.bare")
_module.device_count = lambda: 8
_module.is_available = lambda: True
_module.current_device = lambda: 0
_module.set_device = lambda device: None
torch._register_device_module("bare", _module)
sys.modules["torch.bare"] = _module
