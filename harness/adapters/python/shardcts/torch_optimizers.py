"""Operations on optimizers."""

from __future__ import annotations

import inspect

import torch

from shardcts.adapter import operation
from shardcts.values import Handle

_KINDS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


class OptimizerOperations:
    @operation("optimizer.create")
    def optimizer_create(self, model: Handle, kind: str, options: dict | None = None) -> Handle:
        if kind not in _KINDS:
            raise ValueError(f"unknown optimizer '{kind}'; possible: {', '.join(_KINDS)}")
        optimizer_class = _KINDS[kind]
        optimizer = optimizer_class(self._model(model).parameters(), **_arguments(optimizer_class, options or {}))
        return self._handles.add("optimizer", optimizer)

    @operation("optimizer.step")
    def optimizer_step(self, optimizer: Handle) -> None:
        self._handles.get(optimizer, "optimizer").step()

    @operation("optimizer.zero_grad")
    def optimizer_zero_grad(self, optimizer: Handle) -> None:
        self._handles.get(optimizer, "optimizer").zero_grad()


def _arguments(optimizer_class: type, options: dict) -> dict:
    """beta1 and beta2 become betas where the optimizer has them; what is absent keeps PyTorch's default."""
    arguments = dict(options)
    betas = inspect.signature(optimizer_class).parameters.get("betas")
    if betas is not None and ("beta1" in arguments or "beta2" in arguments):
        arguments["betas"] = (arguments.pop("beta1", betas.default[0]), arguments.pop("beta2", betas.default[1]))
    return arguments
