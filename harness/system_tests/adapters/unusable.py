"""Adapters that cannot be made."""


class RaisingConstructor:
    def __init__(self, rank, world_size, device, options):
        raise KeyError("no\nlicence")


class RaisingOnOneRank:
    name, version = "raising", "1"
    capabilities = ["core"]

    def __init__(self, rank, world_size, device, options):
        if rank == 1:
            raise OSError("no such device on this rank")


class WithoutName:
    version = "1"

    def __init__(self, rank, world_size, device, options):
        pass


class WithoutVersion(WithoutName):
    name, version = "nameless", ""


class OfAnotherContract(WithoutName):
    name = "of the future"
    contract_version = 7
