"""Verifies bundles of `shardcts certify` with nothing but Python's own library; docs/certification.md explains both."""
