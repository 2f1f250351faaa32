"""Which wrappers a model gets: legal stacks, from the inside to the outside."""

from dataclasses import dataclass

FAMILIES = {"plain": 2, "ddp": 2, "replicate": 1, "fully_shard": 6, "fsdp": 6, "hsdp": 2, "tp": 2, "fully_shard+tp": 3}


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
    plan: dict = None  # of tensor parallelism over the mesh's last dimension

    @property
    def is_fsdp(self):
        return self.family == "fsdp"

    @property
    def shards_tensors(self):
        """State dicts have DTensors."""
        return self.family in ("fully_shard", "hsdp", "tp", "fully_shard+tp")

    @property
    def computes(self):
        """A forward has the unwrapped model's output: single layers under tensor parallelism give each rank a part."""
        return self.plan is None

    def name(self):
        """What coverage and known deviations call it."""
        inside = {wrap.wrapper for wrap in self.wraps if wrap.path} - {"fully_shard", "fsdp"}
        kind = self.family + (",use_orig_params" if self.use_orig_params else "")
        return "+".join([kind, *sorted(inside)])


def choose_wrapping(stream, tree, world, features, prefer, families=None):
    allowed = {name: weight for name, weight in FAMILIES.items() if set(name.split("+")) <= {*features, "plain"}}
    if families is not None:
        allowed = {name: weight for name, weight in allowed.items() if name in families}
    if tree.ties:
        allowed = {name: weight for name, weight in allowed.items() if name not in ("hsdp", "tp", "fully_shard+tp")}
    if not tree.linears:
        allowed = {name: weight for name, weight in allowed.items() if "tp" not in name}
    family = stream.weighted(prefer("wrapper", allowed or {"plain": 1}))
    inner = [] if tree.ties else _disjoint_or_nested(stream, tree.inner)
    makers = {
        "plain": lambda: Wrapping("plain", _extras(stream, tree, features)),
        "ddp": lambda: Wrapping("ddp", _extras(stream, tree, features) + (Wrap("", "ddp", {}),)),
        "replicate": lambda: Wrapping("replicate", (Wrap("", "replicate", {}),)),
        "fully_shard": lambda: _fully_shard(stream, inner),
        "hsdp": lambda: _hsdp(stream, inner, _mesh(stream, world)),
        "fsdp": lambda: _fsdp(stream, tree, inner),
        "tp": lambda: Wrapping("tp", (), (world,), plan=_plan(stream, tree)),
        "fully_shard+tp": lambda: _fully_shard_over_tp(stream, tree, world),
    }
    return makers[family]()


def _extras(stream, tree, features):
    wrappers = [name for name in ("checkpoint", "compile") if name in features]
    if tree.has_batch_norm and "checkpoint" in wrappers:
        wrappers.remove("checkpoint")  # a forward that is computed again counts twice
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


def _plan(stream, tree):
    chosen = stream.subset(tree.linears, 0.6) or tree.linears[:1]
    return {path: {"style": stream.choice(["colwise", "rowwise"])} for path in chosen}


def _fully_shard_over_tp(stream, tree, world):
    inner = _disjoint_or_nested(stream, tree.inner)
    sharded = _fully_shard(stream, inner, "$mesh_shards")
    return Wrapping("fully_shard+tp", sharded.wraps, _mesh(stream, world), plan=_plan(stream, tree))


def _fully_shard(stream, inner, mesh=None):
    options = {}
    if stream.chance(0.3):
        options["reshard_after_forward"] = stream.chance(0.5)
    if mesh:
        options["mesh"] = mesh
    wraps = [Wrap(path, "fully_shard", dict(options)) for path in [*inner, ""]]
    return Wrapping("fully_shard", tuple(wraps))


def _hsdp(stream, inner, shape):
    return Wrapping("hsdp", _fully_shard(stream, inner, "$mesh").wraps, shape)


def _fsdp(stream, tree, inner):
    use_orig = bool(tree.frozen) or stream.chance(0.5)
    options = {"use_orig_params": use_orig}
    strategy = stream.weighted({"FULL_SHARD": 4, "SHARD_GRAD_OP": 2, "NO_SHARD": 1})
    if strategy != "FULL_SHARD":
        options["sharding_strategy"] = strategy
    wraps = [Wrap(path, "fsdp", dict(options)) for path in [*inner, ""]]
    return Wrapping("fsdp", tuple(wraps), (), use_orig)
