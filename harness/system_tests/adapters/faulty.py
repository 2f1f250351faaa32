"""PyTorch's adapter with one fault each: on one rank (option `rank`), in the tests that build linear layers of 3."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import tempfile
import time

from shardcts.adapter import operation
from shardcts.torch_adapter import TorchAdapter

FAULTY_SIZE = 3
TEXT_SIZE = 3
OBJECT_SIZE = 4


class FaultOnOneRank(TorchAdapter):
    """`armed`: this rank has built the model of the fault and has not been reset since."""

    def __init__(self, rank, world_size, device, options):
        self._faulty_rank = int(options["rank"])
        self._rank = rank
        self.armed = False
        super().__init__(rank, world_size, device, options)

    @operation("implementation.reset")
    def reset(self):
        self.armed = False
        super().reset()

    @operation("model.build")
    def model_build(self, model, args=None, device="cpu"):
        sizes = args or {}
        self.armed = self._rank == self._faulty_rank and FAULTY_SIZE in (sizes.get("in"), sizes.get("dim"))
        return super().model_build(model, args, device)


class Killed(FaultOnOneRank):
    """The rank dies where its peers wait for it."""

    @operation("model.forward")
    def model_forward(self, model, inputs):
        if self.armed:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().model_forward(model, inputs)


class Sleeping(FaultOnOneRank):
    """The rank never comes back."""

    @operation("model.forward")
    def model_forward(self, model, inputs):
        while self.armed:
            time.sleep(1)
        return super().model_forward(model, inputs)


class Slow(FaultOnOneRank):
    """The rank takes its time once, and comes back."""

    @operation("model.forward")
    def model_forward(self, model, inputs):
        if self.armed:
            time.sleep(2)
            self.armed = False
        return super().model_forward(model, inputs)


class LogIsAPipe(FaultOnOneRank):
    """A pipe takes the place of the rank's log; then it ends, or hangs."""

    def __init__(self, rank, world_size, device, options):
        self._ends = options["then"] == "end"
        super().__init__(rank, world_size, device, options)

    @operation("model.forward")
    def model_forward(self, model, inputs):
        if self.armed:
            log = os.readlink("/proc/self/fd/1")
            os.remove(log)
            os.mkfifo(log)
            if self._ends:
                os._exit(5)
            time.sleep(600)
        return super().model_forward(model, inputs)


class LeavingFiles(Killed):
    """The ranks make temporary files, as libraries do, and one that other processes cannot enter; one rank dies."""

    @operation("model.build")
    def model_build(self, model, args=None, device="cpu"):
        tempfile.mkstemp()
        folder = tempfile.mkdtemp()
        with open(f"{folder}/file", "w"):
            os.chmod(folder, 0)
        with multiprocessing.Manager() as manager:  # has a Unix socket there
            manager.list([1])
        return super().model_build(model, args, device)


class LeavingProcesses(FaultOnOneRank):
    """The rank starts processes that know nothing of its environment, then goes on; with then=die it dies."""

    def __init__(self, rank, world_size, device, options):
        self._words = ["/bin/sleep", options["seconds"]]
        self._dies = options.get("then") == "die"
        super().__init__(rank, world_size, device, options)

    def _detach(self):
        """A grandchild of its own session; the process between ends."""
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execve(self._words[0], self._words, {})
            os._exit(0)
        os.wait()

    @operation("model.forward")
    def model_forward(self, model, inputs):
        if self.armed:
            self.armed = False
            subprocess.Popen(self._words, env={}, start_new_session=True)
            self._detach()
            if self._dies:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().model_forward(model, inputs)


class FullDisk(FaultOnOneRank):
    """The event file of the rank goes to a disk that is full, or is closed (how=closed)."""

    def __init__(self, rank, world_size, device, options):
        self._closes = options["how"] == "closed"
        super().__init__(rank, world_size, device, options)

    @operation("model.forward")
    def model_forward(self, model, inputs):
        if self.armed:
            files = {int(number): os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")
                     if os.path.exists(f"/proc/self/fd/{number}")}
            own = f"rank-{self._rank}.events.jsonl"
            for number in [number for number, name in files.items() if name.endswith(own)]:
                os.close(number) if self._closes else os.dup2(os.open("/dev/full", os.O_WRONLY), number)
        return super().model_forward(model, inputs)


class RaisingBeforeCollective(FaultOnOneRank):
    """The rank fails in a local operation; its peers go on to the next collective one."""

    @operation("model.build")
    def model_build(self, model, args=None, device="cpu"):
        handle = super().model_build(model, args, device)
        if self.armed:
            raise RuntimeError("seeded error of one rank")
        return handle


class RaisingInCollective(FaultOnOneRank):
    """The rank fails while its peers are inside PyTorch already and wait for it there."""

    @operation("model.forward")
    def model_forward(self, model, inputs):
        if self.armed:
            raise RuntimeError("seeded error of one rank")
        return super().model_forward(model, inputs)


class RaisingInReset(FaultOnOneRank):
    """The rank cannot drop the model of the fault."""

    @operation("implementation.reset")
    def reset(self):
        was_armed = self.armed
        super().reset()
        if was_armed:
            raise RuntimeError("seeded error of one rank")


class LosingParameters(FaultOnOneRank):
    """The rank does not know its last parameter, so a test that goes through them does something else there."""

    @operation("model.parameters")
    def model_parameters(self, model, remove_duplicate=True):
        parameters = super().model_parameters(model, remove_duplicate)
        if self.armed:
            parameters.popitem()
        return parameters


class LosingEntries(FaultOnOneRank):
    """The rank's state dicts lack their last entry."""

    @operation("model.state_dict")
    def model_state_dict(self, model):
        entries = super().model_state_dict(model)
        if self._rank == self._faulty_rank:
            entries.popitem()
        return entries


class DeclaringLess(FaultOnOneRank):
    """The rank declares that it cannot shard."""

    def __init__(self, rank, world_size, device, options):
        super().__init__(rank, world_size, device, options)
        if rank == self._faulty_rank:
            self.capabilities = ["core"]


class Flaky(FaultOnOneRank):
    """The rank fails in every second test of the fault."""

    _tests = 0

    @operation("model.build")
    def model_build(self, model, args=None, device="cpu"):
        handle = super().model_build(model, args, device)
        Flaky._tests += self.armed
        if self.armed and Flaky._tests % 2 == 0:
            raise RuntimeError("seeded error of every second test")
        return handle


class WrongTypes(TorchAdapter):
    """Results that the contract does not allow, on all ranks: a text for a tensor, and what no value is."""

    @operation("implementation.reset")
    def reset(self):
        self._size = None
        super().reset()

    @operation("model.build")
    def model_build(self, model, args=None, device="cpu"):
        self._size = args["in"]
        return super().model_build(model, args, device)

    @operation("model.forward")
    def model_forward(self, model, inputs):
        output = super().model_forward(model, inputs)
        if self._size == TEXT_SIZE:
            return "a text"
        return object() if self._size == OBJECT_SIZE else output
