"""PyTorch's FileSystem storage that fails on command, at a step of a save or load."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch.distributed.checkpoint as dcp
from torch.futures import Future


@dataclass(frozen=True)
class Fault:
    """A step at which ranks fail. Those of the coordinator alone are steps that PyTorch runs there only."""

    step: str = ""
    ranks: list[int] = field(default_factory=list)
    asynchronous: bool = False
    coordinator: int = 0

    def meets(self, step: str, rank: int) -> bool:
        return step == self.step and rank in self.ranks

    def raise_at(self, step: str, rank: int) -> None:
        if self.meets(step, rank):
            raise ValueError(f"fails at {step}")

    def check(self, step: str, rank: int) -> None:
        if not self.asynchronous:
            self.raise_at(step, rank)

    def future(self, step: str, rank: int, done: Future) -> Future:
        if not (self.asynchronous and self.meets(step, rank)):
            return done
        failed = Future()
        failed.set_exception(ValueError(f"fails at {step}, in the background"))
        return failed


class _FailsAtPlans:
    """The steps that a writer and a reader have under the same names."""

    def prepare_local_plan(self, plan):
        self._fault.check("local_plan", self._rank)
        return super().prepare_local_plan(plan)

    def prepare_global_plan(self, plans):
        self._fault.check("global_plan", self._rank)
        return super().prepare_global_plan(plans)


class FailingWriter(_FailsAtPlans, dcp.FileSystemWriter):
    def __init__(self, fault: Fault, rank: int, path: str, **options):
        super().__init__(path, **options)
        self._fault, self._rank = fault, rank

    def set_up_storage_writer(self, is_coordinator, *args, **kwargs):
        self._fault.check("set_up_writer", self._rank)
        super().set_up_storage_writer(is_coordinator, *args, **kwargs)

    def write_data(self, plan, planner):
        self._fault.check("write", self._rank)
        return self._fault.future("write", self._rank, super().write_data(plan, planner))

    def finish(self, metadata, results):
        self._fault.check("finish", self._rank)
        super().finish(metadata, results)


class FailingReader(_FailsAtPlans, dcp.FileSystemReader):
    def __init__(self, fault: Fault, rank: int, path: str):
        super().__init__(path)
        self._fault, self._rank = fault, rank

    def read_metadata(self, *args, **kwargs):
        self._fault.check("read_metadata", self._rank)
        return super().read_metadata(*args, **kwargs)

    def set_up_storage_reader(self, metadata, is_coordinator, *args, **kwargs):
        self._fault.check("set_up_reader", self._rank)
        super().set_up_storage_reader(metadata, is_coordinator, *args, **kwargs)

    def read_data(self, plan, planner):
        self._fault.check("read", self._rank)
        return self._fault.future("read", self._rank, super().read_data(plan, planner))
