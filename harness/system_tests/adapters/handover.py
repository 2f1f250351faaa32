"""Adapters that write and read files in a folder, and do nothing else: what scripts with phases need."""

from pathlib import Path

from shardcts import operation
from shardcts.values import Handle


class Handover:
    """`model.build` of a folder: with {"save": N} every rank writes N into a file of its own, with {"ranks": R} every
    rank reads the files of R ranks and fails where one is not there."""

    name, version = "handover", "1.0"
    capabilities = ["core"]

    def __init__(self, rank, world_size, device, options):
        self._rank = rank

    @operation("implementation.reset")
    def reset(self):
        pass

    @operation("implementation.seed")
    def seed(self, seed):
        pass

    @operation("model.build")
    def build(self, model, args=None, device="cpu"):
        folder = Path(model)
        if "save" in args:
            self.save(folder, args["save"])
        else:
            self.load(folder, args["ranks"])
        return Handle("model", 0)

    @operation("model.state_dict")
    def state_dict(self, model):
        return {"read": self.read}

    def save(self, folder, number):
        (folder / f"rank-{self._rank}").write_text(str(number))
        self.read = [number]

    def load(self, folder, ranks):
        self.read = [int((folder / f"rank-{rank}").read_text()) for rank in range(ranks)]


class Losing(Handover):
    """The last rank that saves writes nothing."""

    def save(self, folder, number):
        self.read = [number]
        if self._rank == 0:
            super().save(folder, number)
