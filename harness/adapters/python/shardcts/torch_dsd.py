"""Operations of the distributed state-dict API (torch.distributed.checkpoint.state_dict)."""

from __future__ import annotations

import torch
from torch.distributed.checkpoint import state_dict as dsd

from shardcts import torch_modules
from shardcts.adapter import operation
from shardcts.torch_process_group import in_process_group
from shardcts.values import Handle


class StateDictApiOperations:
    """Every operation is one call of PyTorch, with a copy of the dicts that it is given: PyTorch changes them."""

    @operation("dsd.get_model_state_dict")
    def dsd_get_model_state_dict(
        self, model: Handle, submodules: list[str] | None = None, options: dict | None = None, distributed: bool = True
    ) -> dict:
        with in_process_group(distributed):
            found = dsd.get_model_state_dict(
                self.model_of(model), submodules=self._submodules(model, submodules), options=_options(options)
            )
        return self.tensors.tree_to_values(found)

    @operation("dsd.get_optimizer_state_dict")
    def dsd_get_optimizer_state_dict(
        self,
        model: Handle,
        optimizers: list[Handle],
        submodules: list[str] | None = None,
        options: dict | None = None,
        distributed: bool = True,
    ) -> dict:
        with in_process_group(distributed):
            found = dsd.get_optimizer_state_dict(
                self.model_of(model),
                self._optimizers(optimizers),
                submodules=self._submodules(model, submodules),
                options=_options(options),
            )
        return self.tensors.tree_to_values(found)

    @operation("dsd.edit_optimizer_state_dict")
    def dsd_edit_optimizer_state_dict(
        self, model: Handle, optimizers: list[Handle], options: dict | None = None
    ) -> None:
        found = dsd.get_optimizer_state_dict(
            self.model_of(model), self._optimizers(optimizers), options=_options(options)
        )
        for group in found.get("param_groups", []):
            group["params"].clear()
            group.clear()
            group["lr"] = 9.0
        for state in found.get("state", {}).values():
            state.clear()
        for name in found:
            if name.endswith(".lr"):
                found[name] = 9.0
        found.clear()

    @operation("dsd.get_state_dict")
    def dsd_get_state_dict(
        self,
        model: Handle,
        optimizers: list[Handle],
        submodules: list[str] | None = None,
        options: dict | None = None,
        distributed: bool = True,
    ) -> dict:
        with in_process_group(distributed):
            of_model, of_optimizers = dsd.get_state_dict(
                self.model_of(model),
                self._optimizers(optimizers),
                submodules=self._submodules(model, submodules),
                options=_options(options),
            )
        return self.tensors.tree_to_values({"model": of_model, "optimizer": of_optimizers})

    @operation("dsd.set_model_state_dict")
    def dsd_set_model_state_dict(
        self,
        model: Handle,
        state_dict: dict,
        by_submodule: bool = False,
        options: dict | None = None,
        distributed: bool = True,
    ) -> dict:
        module = self.model_of(model)
        given = self.tensors.tree_to_torch(state_dict)
        if by_submodule:
            given = {torch_modules.place_at(module, path).outermost: entries for path, entries in given.items()}
        with in_process_group(distributed):
            return _keys(module, dsd.set_model_state_dict(module, given, options=_options(options)))

    @operation("dsd.set_optimizer_state_dict")
    def dsd_set_optimizer_state_dict(
        self,
        model: Handle,
        optimizers: list[Handle],
        state_dict: dict,
        options: dict | None = None,
        distributed: bool = True,
    ) -> None:
        given = self.tensors.tree_to_torch(state_dict)
        with in_process_group(distributed):
            dsd.set_optimizer_state_dict(
                self.model_of(model), self._optimizers(optimizers), given, options=_options(options)
            )

    @operation("dsd.set_state_dict")
    def dsd_set_state_dict(
        self,
        model: Handle,
        optimizers: list[Handle],
        model_state_dict: dict,
        optimizer_state_dict: dict,
        options: dict | None = None,
        distributed: bool = True,
    ) -> dict:
        module = self.model_of(model)
        with in_process_group(distributed):
            result = dsd.set_state_dict(
                module,
                self._optimizers(optimizers),
                model_state_dict=self.tensors.tree_to_torch(model_state_dict),
                optim_state_dict=self.tensors.tree_to_torch(optimizer_state_dict),
                options=_options(options),
            )
        return _keys(module, result)

    @operation("dsd.patch_model_state_dict")
    def dsd_patch_model_state_dict(self, model: Handle, options: dict | None = None) -> None:
        dsd._patch_model_state_dict(self.model_of(model), options=_options(options))

    @operation("dsd.patch_optimizer_state_dict")
    def dsd_patch_optimizer_state_dict(
        self, model: Handle, optimizers: list[Handle], options: dict | None = None
    ) -> None:
        dsd._patch_optimizer_state_dict(
            self.model_of(model), optimizers=self._optimizers(optimizers), options=_options(options)
        )

    def _optimizers(self, handles: list[Handle]) -> tuple[torch.optim.Optimizer, ...]:
        return tuple(self.optimizer_of(handle) for handle in handles)

    def _submodules(self, model: Handle, paths: list[str] | None) -> set[torch.nn.Module] | None:
        if paths is None:
            return None
        return {torch_modules.place_at(self.model_of(model), path).outermost for path in paths}


def _options(fields: dict | None) -> dsd.StateDictOptions | None:
    """Raises TypeError for an option that PyTorch does not have."""
    return None if fields is None else dsd.StateDictOptions(**fields)


def _keys(module: torch.nn.Module, result) -> dict:
    """What was missing or unexpected, under the names that the contract shows."""
    return {
        kind: [torch_modules.clean_name(module, name) for name in getattr(result, kind)]
        for kind in ("missing_keys", "unexpected_keys")
    }
