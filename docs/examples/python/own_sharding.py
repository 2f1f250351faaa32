"""The adapter of a library with sharding code of its own, row_library. Its rows are shown as DTensors on the world."""

import row_library
import torch
from row_library import RowParameter, Rows
from shardcts.pytorch import NotSupported, PyTorchAdapter, TensorConversion
from shardcts.values import DTensorValue, MeshLayout
from torch.distributed.tensor import DTensor, Shard


class RowConversion(TensorConversion):
    """The way out: Rows become values. The way in is PyTorch's: what a test gives are DTensors."""

    def to_value(self, tensor):
        if isinstance(tensor, RowParameter):
            return self._value(tensor.detach(), tensor.shape_of_all, tensor.requires_grad, is_parameter=True)
        return self._value(tensor.local, tensor.shape) if isinstance(tensor, Rows) else super().to_value(tensor)

    def _value(self, local, shape, requires_grad=False, is_parameter=False):
        ranks = list(range(torch.distributed.get_world_size()))
        stride = torch.empty(shape, device="meta").stride()
        mesh = MeshLayout(local.device.type, [len(ranks)], [], ranks)
        return DTensorValue(local, mesh, ["S(0)"], list(shape), list(stride), requires_grad, is_parameter)


class OwnSharding(PyTorchAdapter):
    name = "row_library"
    version = row_library.__version__
    capabilities = ["core", "dtensor", "fsdp2", "optimizer", "serialization", "inspection", "layout.pytorch"]
    conversion = RowConversion

    def wrap(self, root, path, wrapper, options):
        if wrapper != "fully_shard":
            return super().wrap(root, path, wrapper, options)
        for name in options:
            if name not in ("mesh", "reshard_after_forward"):
                raise NotSupported(f"options.{name}", "row_library has no such option")
        if options.get("reshard_after_forward") is False:
            raise NotSupported("options.reshard_after_forward", "row_library gathers whenever a parameter is used")
        if "mesh" in options and self.mesh_of(options["mesh"]).shape != (self.world_size,):
            raise NotSupported("options.mesh", "row_library shards over the world")
        row_library.shard(root.get_submodule(path))
        return root

    def state_dict(self, module, prefix=""):
        return {prefix + name: value for name, value in row_library.state_dict(module).items()}

    def load_state_dict(self, module, state_dict, strict, assign):
        if assign:
            raise NotSupported("assign", "row_library copies")
        return row_library.load_state_dict(module, {name: given(value) for name, value in state_dict.items()}, strict)

    def gradient(self, parameter):
        rows = isinstance(parameter, RowParameter) and parameter.grad is not None
        return Rows(parameter.grad, parameter.shape_of_all) if rows else parameter.grad

    def optimizer_state(self, optimizer):
        saved = optimizer.state_dict()
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for index, state in saved["state"].items():
            if not isinstance(index, int):  # state of no parameter
                continue
            saved["state"][index] = {name: rows(parameters[index], value) for name, value in state.items()}
        return saved

    def load_optimizer_state(self, optimizer, state_dict):
        states = {
            index: {name: value.to_local() if isinstance(value, DTensor) else value for name, value in state.items()}
            for index, state in state_dict["state"].items()
        }
        optimizer.load_state_dict({**state_dict, "state": states})


def rows(parameter, value):
    """State of the shape of a sharded parameter is sharded like it."""
    like = isinstance(parameter, RowParameter) and isinstance(value, torch.Tensor) and value.shape == parameter.shape
    return Rows(value, parameter.shape_of_all) if like and value.dim() else value


def given(value):
    """A DTensor of any layout as rows."""
    return Rows(value.redistribute(placements=[Shard(0)]).to_local(), value.shape) if isinstance(value, DTensor) else value
