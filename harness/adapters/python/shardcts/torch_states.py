"""Operations on state dicts of models."""

from __future__ import annotations

from shardcts.adapter import operation
from shardcts.values import Handle


class StateOperations:
    @operation("model.state_dict")
    def model_state_dict(self, model: Handle) -> dict:
        return self._tensors.dict_to_values(self._model(model).state_dict().items())

    @operation("model.load_state_dict")
    def model_load_state_dict(self, model: Handle, state_dict: dict, strict: bool = True, assign: bool = False) -> dict:
        converted = {name: self._tensors.to_torch(value) for name, value in state_dict.items()}
        result = self._model(model).load_state_dict(converted, strict=strict, assign=assign)
        return {"missing_keys": list(result.missing_keys), "unexpected_keys": list(result.unexpected_keys)}
