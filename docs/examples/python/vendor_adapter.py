"""A vendor's adapter: PyTorch's, with the vendor's package. hostdev, ShardCTS's emulated accelerator, stands for it."""

import shardcts_hostdev  # noqa: F401  (registers the device type and its backend, as a vendor's package does)

from shardcts.torch_adapter import TorchAdapter


class VendorAdapter(TorchAdapter):
    name = "vendor"
