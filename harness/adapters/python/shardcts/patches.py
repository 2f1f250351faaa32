"""What must be changed in PyTorch to run the suites on a device at all.

Each patch is declared in the results with its reason. A patch never touches what is being checked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Patch:
    target: str
    reason: str
    is_needed: Callable[[str], bool]  # by device type
    apply: Callable[[], None]

    def describe(self) -> dict[str, str]:
        return {"target": self.target, "reason": self.reason}


def _has_no_accelerator(device_type: str) -> bool:
    return device_type == "cpu" and not torch.accelerator.is_available()


def _make_pin_memory_a_no_op() -> None:
    torch.Tensor.pin_memory = lambda self, *args, **kwargs: self


PATCHES = [
    Patch(
        target="torch.Tensor.pin_memory",
        reason="pinning needs an accelerator; without one CPUOffloadPolicy(pin_memory=True), the default, cannot be "
               "used. The tensor is returned as it is.",
        is_needed=_has_no_accelerator,
        apply=_make_pin_memory_a_no_op,
    ),
]


def apply_needed(device_type: str) -> list[dict[str, str]]:
    """Applies what this device type needs and returns the declarations."""
    needed = [patch for patch in PATCHES if patch.is_needed(device_type)]
    for patch in needed:
        patch.apply()
    return [patch.describe() for patch in needed]
