"""The adapter of python_bridge_test.cc: operations that show what arrives on this side of the border."""

import os
import subprocess
import sys
import threading
import warnings

import torch
from torch import nn

from shardcts import operation
from shardcts.values import DTensorValue, ShardedTensorValue


class BridgeAdapter:
    name, version = "BridgeAdapter", "1"
    capabilities = ["core"]

    def __init__(self, rank, world_size, device, options):
        self._place = {"rank": rank, "world_size": world_size, "device": device, "options": dict(options)}
        self._kept = None

    @operation("test.place")
    def place(self):
        return self._place

    @operation("test.environment")
    def environment(self):
        return dict(os.environ)

    @operation("test.modules")
    def modules(self):
        return {name: name in sys.modules for name in ("torch.distributed.fsdp", "shardcts.torch_adapter")}

    @operation("test.after_fork")
    def after_fork(self):
        """The gradient of a sum of doubles, made in a thread, after another process has run."""
        subprocess.run([sys.executable, "-c", "pass"], check=True, timeout=60)
        leaf = torch.ones(3, requires_grad=True)
        thread = threading.Thread(target=lambda: (leaf * 2).sum().backward())
        thread.start()
        thread.join(60)
        return leaf.grad

    @operation("test.write_to_nobody")
    def write_to_nobody(self):
        """Raises BrokenPipeError where SIGPIPE is ignored; elsewhere the process ends."""
        read_end, write_end = os.pipe()
        os.close(read_end)
        try:
            os.write(write_end, b"x")
        finally:
            os.close(write_end)

    @operation("test.echo")
    def echo(self, value):
        return value

    @operation("test.look")
    def look(self, value):
        tensor = value.local if isinstance(value, DTensorValue) else value
        return {"pointer": tensor.data_ptr(), "parameter": isinstance(value, nn.Parameter)}

    @operation("test.shard_pointers")
    def shard_pointers(self, value: ShardedTensorValue):
        return [shard.tensor.data_ptr() for shard in value.local_shards]

    @operation("test.keep")
    def keep(self, value):
        self._kept = value

    @operation("test.is_kept")
    def is_kept(self, value):
        return value is self._kept

    @operation("test.parameter")
    def parameter(self):
        self._kept = nn.Parameter(torch.ones(2))
        return {"parameter": self._kept, "result": (self._kept * 3).sum(), "pair": (1, 2)}

    @operation("test.gradient")
    def gradient(self, result):
        result.backward()
        return self._kept.grad

    @operation("test.fail")
    def fail(self, kind):
        raise {"ValueError": ValueError, "SystemExit": SystemExit}[kind]("first line\nsecond line")

    @operation("test.warn")
    def warn(self):
        for category, text in ((UserWarning, "one"), (FutureWarning, "two"), (DeprecationWarning, "not shown")):
            warnings.warn(text, category)
        warnings.warn("one")
        return 1

    @operation("test.strange")
    def strange(self, kind):
        return {"set": {"a": [1, {2}]}, "key": {1.5: 0}, "huge": [2**64], "none": {"t": (None, True)}}[kind]


class FailingConstructor:
    def __init__(self, rank, world_size, device, options):
        raise KeyError("no\nlicence")


not_a_class = 7
