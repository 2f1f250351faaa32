"""Which wrappers a model gets: legal stacks, from the inside to the outside."""

from dataclasses import dataclass

FAMILIES = {"plain": 2, "ddp": 2, "replicate": 1, "fully_shard": 6, "fsdp": 6, "hsdp": 2}


@dataclass(frozen=True)
class Wrap:
    path: str
    wrapper: str
    options: dict


@dataclass(frozen=True)
class Wrapping:
    family: str
    wraps: tuple
    mesh: tuple = ()  # shape of the mesh that they need; (): none
    use_orig_params: bool = False

    @property
    def is_fsdp(self):
        return self.family == "fsdp"

    @property
    def shards_tensors(self):
        """State dicts have DTensors."""
        return self.family in ("fully_shard", "hsdp")

    def name(self):
        """What coverage and known deviations call it."""
        inside = {wrap.wrapper for wrap in self.wraps if wrap.path} - {self.family, "fully_shard", "fsdp"}
        kind = self.family + (",use_orig_params" if self.use_orig_params else "")
        return "+".join([kind, *sorted(inside)])


def choose_wrapping(stream, tree, world, features, families=None):
    allowed = {name: weight for name, weight in FAMILIES.items() if name in features or name == "plain"}
    if families is not None:
        allowed = {name: weight for name, weight in allowed.items() if name in families}
    if tree.ties:
        allowed.pop("hsdp", None)
    family = stream.weighted(allowed or {"plain": 1})
    inner = [] if tree.ties else _disjoint_or_nested(stream, tree.inner)
    makers = {
        "plain": lambda: Wrapping("plain", _extras(stream, tree, features)),
        "ddp": lambda: Wrapping("ddp", _extras(stream, tree, features) + (Wrap("", "ddp", {}),)),
        "replicate": lambda: Wrapping("replicate", (Wrap("", "replicate", {}),)),
        "fully_shard": lambda: _fully_shard(stream, inner, ()),
        "hsdp": lambda: _fully_shard(stream, inner, _mesh(stream, world)),
        "fsdp": lambda: _fsdp(stream, tree, inner),
    }
    return makers[family]()


def _extras(stream, tree, features):
    wrappers = [name for name in ("checkpoint", "compile") if name in features]
    if not wrappers or not tree.inner or stream.chance(0.5):
        return ()
    return (Wrap(stream.choice(tree.inner), stream.choice(wrappers), {}),)


def _disjoint_or_nested(stream, paths):
    """Inner paths come before outer ones."""
    chosen = stream.subset(paths, 0.4)
    return sorted(chosen, key=lambda path: (-path.count("."), path))


def _mesh(stream, world):
    shapes = {1: [(1, 1)], 2: [(1, 2), (2, 1)], 3: [(1, 3), (3, 1)], 4: [(2, 2), (1, 4), (4, 1)]}
    return stream.choice(shapes[world]) if world in shapes else (1, world)


def _fully_shard(stream, inner, mesh):
    options = {}
    if stream.chance(0.3):
        options["reshard_after_forward"] = stream.chance(0.5)
    if mesh:
        options["mesh"] = "$mesh"
    wraps = [Wrap(path, "fully_shard", dict(options)) for path in [*inner, ""]]
    return Wrapping("hsdp" if mesh else "fully_shard", tuple(wraps), mesh)


def _fsdp(stream, tree, inner):
    use_orig = bool(tree.frozen) or stream.chance(0.5)
    options = {"use_orig_params": use_orig}
    strategy = stream.weighted({"FULL_SHARD": 4, "SHARD_GRAD_OP": 2, "NO_SHARD": 1})
    if strategy != "FULL_SHARD":
        options["sharding_strategy"] = strategy
    wraps = [Wrap(path, "fsdp", dict(options)) for path in [*inner, ""]]
    return Wrapping("fsdp", tuple(wraps), (), use_orig)
