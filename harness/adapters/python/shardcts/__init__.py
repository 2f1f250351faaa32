"""ShardCTS adapters: how a Python implementation takes part in the conformance suite (docs/adapters.md)."""

from shardcts.adapter import Adapter, operation

__all__ = ["Adapter", "operation"]
