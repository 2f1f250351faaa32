"""PyTorch's adapter with an option that it does not support; the option refuses names its path."""

from shardcts import NotSupported, operation
from shardcts.torch_adapter import TorchAdapter


class Refusing(TorchAdapter):
    name = "torch without an option"
    version = "1"

    def __init__(self, rank, world_size, device, options):
        self._refused = options.pop("refuses", "options.cpu_offload")
        self._alone = options.pop("on", "") == "rank1"
        super().__init__(rank, world_size, device, options)
        self._rank = rank

    @operation("dsd.get_state_dict")
    def dsd_get_state_dict(self, options=None, **arguments):
        offloads = bool(options and options.get("cpu_offload"))
        if offloads and (self._rank == 1 or not self._alone):
            raise NotSupported(self._refused, "nothing can be offloaded")
        return super().dsd_get_state_dict(options=options, **arguments)

    @operation("model.wrap")
    def model_wrap(self, model, path, wrapper, options=None):
        if wrapper == self._refused:
            raise NotSupported("wrapper", f"no {wrapper}")
        return super().model_wrap(model, path, wrapper, options)
