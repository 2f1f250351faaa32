"""The adapter of my_library. It runs as it is: PyTorch's fully_shard stands where my_library is to be called."""

import torch
from shardcts.pytorch import NotSupported, PyTorchAdapter
from torch.distributed.fsdp import fully_shard  # replace by: import my_library


class MyLibraryAdapter(PyTorchAdapter):
    name = "my_library"
    version = torch.__version__  # replace by the version of my_library
    # Begin with few: `shardcts capabilities` says what each opens, and whether it works.
    capabilities = ["core", "dtensor", "fsdp2", "optimizer"]

    def wrap(self, root, path, wrapper, options):
        """Applies the contract's wrapper to the module at the path; returns the root to use from now on."""
        if wrapper != "fully_shard":
            return super().wrap(root, path, wrapper, options)
        arguments = {}
        for option, value in options.items():
            if option not in ("mesh", "reshard_after_forward"):
                raise NotSupported(f"options.{option}", "my_library has no such option")
            arguments[option] = self.mesh_of(value) if option == "mesh" else value
        fully_shard(root.get_submodule(path), **arguments)
        return root

    def state_dict(self, module, prefix=""):
        """The module's state, as my_library takes it."""
        return super().state_dict(module, prefix)

    def load_state_dict(self, module, state_dict, strict, assign):
        """Loads it; returns missing and unexpected keys."""
        if assign:
            raise NotSupported("assign", "my_library copies into the parameters that are there")
        return super().load_state_dict(module, state_dict, strict, assign)

    def optimizer_state(self, optimizer):
        """The optimizer's state dict, as my_library takes it."""
        return super().optimizer_state(optimizer)

    def load_optimizer_state(self, optimizer, state_dict):
        """The other way."""
        super().load_optimizer_state(optimizer, state_dict)
