"""PyTorch's adapter, whose answers nobody can use: hostile tensors, endless texts, values that contain themselves."""

from __future__ import annotations

import os
import signal

import torch

from shardcts.adapter import operation
from shardcts.torch_adapter import TorchAdapter

HOSTILE_SIZE = 3  # of the linear layers in the test that gets the fault


def _itself() -> list:
    value: list = []
    value.append(value)
    return value


def _deep() -> dict:
    value: dict = {}
    for _ in range(5000):
        value = {"x": value}
    return value


RESULTS = {
    "sparse": lambda output: output.detach().to_sparse(),
    "expanded": lambda output: torch.zeros(1).expand(1 << 40),
    "overlapping": lambda output: torch.zeros(1 << 10).as_strided((1 << 9, 1 << 20), (1, 0)),
    "quantized": lambda output: torch.quantize_per_tensor(output.detach(), 0.1, 0, torch.qint8),
    "itself": lambda output: _itself(),
    "deep": lambda output: _deep(),
    "huge": lambda output: 10**5000,
    "surrogate": lambda output: "\ud800",
}


class Hostile(TorchAdapter):
    """Option `result`: what the forward pass gives in the test of the fault."""

    def __init__(self, rank, world_size, device, options):
        self._result = RESULTS[options["result"]]
        self._size = None
        super().__init__(rank, world_size, device, options)

    @operation("model.build")
    def model_build(self, model, args=None, device="cpu"):
        self._size = (args or {}).get("in")
        return super().model_build(model, args, device)

    @operation("model.forward")
    def model_forward(self, model, inputs):
        output = super().model_forward(model, inputs)
        return self._result(output) if self._size == HOSTILE_SIZE else output


class LongTexts(TorchAdapter):
    """Says too much: an error of a million characters."""

    @operation("model.forward")
    def model_forward(self, model, inputs):
        raise RuntimeError("x" * 1_000_001)


class ControlsTheTerminal(TorchAdapter):
    """Its error clears the screen, hides its own text and writes backwards; over two lines."""

    @operation("model.forward")
    def model_forward(self, model, inputs):
        raise RuntimeError("\x1b[2J\x1b[8mevil\x07\x9b2J\n\u202egnp.exe\u2028\x85" + "ä" * 300)


class Misspelled(TorchAdapter):
    @operation("model.forwrd")
    def forward(self, model, inputs):
        return None


class OtherByRank(TorchAdapter):
    """Each rank has loaded another version."""

    def __init__(self, rank, world_size, device, options):
        super().__init__(rank, world_size, device, options)
        self.version = f"1.{rank}"


class BasedOnNothing(TorchAdapter):
    based_on = "troch"


class HalfACharacter(TorchAdapter):
    @operation("model.forward")
    def model_forward(self, model, inputs):
        raise ValueError("\ud800abc")


class NumberForName(TorchAdapter):
    name = 5


class LongName(TorchAdapter):
    name = "x" * 5_000_000


class CapabilitiesOfNumbers(TorchAdapter):
    capabilities = [1, 2]


class NumberForDescription(TorchAdapter):
    @operation("implementation.describe")
    def describe(self):
        return 5


class KilledConstructor:
    name, version = "killed", "1"
    capabilities = ["core"]

    def __init__(self, rank, world_size, device, options):
        if rank == 1:
            os.kill(os.getpid(), signal.SIGSEGV)


class ExitingConstructor:
    name, version = "exiting", "1"
    capabilities = ["core"]

    def __init__(self, rank, world_size, device, options):
        os._exit(0)


class CrashingInReset(TorchAdapter):
    """Rank 1 dies when it drops the model of the fault."""

    def __init__(self, rank, world_size, device, options):
        self._rank = rank
        self._armed = False
        super().__init__(rank, world_size, device, options)

    @operation("model.build")
    def model_build(self, model, args=None, device="cpu"):
        self._armed = self._rank == 1 and (args or {}).get("in") == HOSTILE_SIZE
        return super().model_build(model, args, device)

    @operation("implementation.reset")
    def reset(self):
        if self._armed:
            os.kill(os.getpid(), signal.SIGKILL)
        super().reset()


class RaisingInEveryReset(TorchAdapter):
    """From the test of the fault on, as long as the object lives."""

    _broken = False

    @operation("model.build")
    def model_build(self, model, args=None, device="cpu"):
        self._broken = self._broken or (args or {}).get("in") == HOSTILE_SIZE
        return super().model_build(model, args, device)

    @operation("implementation.reset")
    def reset(self):
        if self._broken:
            raise RuntimeError("nothing can be dropped any more")
        super().reset()


class ChunksWithoutSizes(TorchAdapter):
    """Its description of a checkpoint is of the right types, and makes no sense."""

    @operation("storage.describe")
    def storage_describe(self, path):
        described = super().storage_describe(path)
        for entry in described["keys"].values():
            for chunk in entry.get("chunks", []):
                chunk["sizes"] = []
        return described
