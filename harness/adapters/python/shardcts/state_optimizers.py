"""Two optimizers for tests of state dicts: their state has every form that state may have. The table of operations
says what they do (kinds nested_state and global_state). The distributed state-dict functions pass a closure of None to
step."""

from __future__ import annotations

import torch


class NestedState(torch.optim.Optimizer):
    def __init__(self, params, lr: float = 1e-3):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, group["lr"])

    def _step(self, parameter: torch.Tensor, lr: float) -> None:
        state = self.state[parameter]
        if not state:
            state.update(_initial(parameter))
        state["count"] += 1
        state["total"] += 1
        state["pair"] += torch.tensor([1.0, 2.0], device=state["pair"].device)
        state["moment"].add_(parameter.grad)
        state["levels"][1]["two"][2].add_(parameter.grad, alpha=2)
        state["items"][0].add_(parameter.grad, alpha=3)
        parameter.add_(state["moment"], alpha=-lr)


def _initial(parameter: torch.Tensor) -> dict:
    return {
        "count": 0,
        "seen": True,
        "label": "nested",
        "nothing": None,
        "total": torch.tensor(0.0),
        "pair": torch.zeros(2, device=parameter.device),
        "moment": torch.zeros_like(parameter),
        "levels": {1: {"two": {2: torch.zeros_like(parameter)}}},
        "items": [torch.zeros_like(parameter), "text", 3, False],
    }


class GlobalState(torch.optim.Optimizer):
    def __init__(self, params, lr: float = 1e-3):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.add_(parameter.grad, alpha=-group["lr"])
        whole = self.state["global"]
        if not whole:
            whole.update(count=0, history=torch.zeros(3))
        whole["count"] += 1
        whole["history"][(whole["count"] - 1) % 3] = whole["count"]
