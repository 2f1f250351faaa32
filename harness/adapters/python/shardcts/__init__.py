"""ShardCTS adapters: how a Python implementation takes part in the conformance suite (docs/adapters.md)."""

from shardcts.adapter import Adapter, NotSupported, operation

__all__ = ["Adapter", "NotSupported", "operation"]
