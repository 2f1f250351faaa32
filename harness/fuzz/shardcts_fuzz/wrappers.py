"""Which wrappers a model gets: legal stacks, from the inside to the outside."""

from dataclasses import dataclass, replace

FAMILIES = {"plain": 1, "ddp": 2, "replicate": 1, "fully_shard": 6, "fsdp": 6, "hsdp": 2, "tp": 2, "fully_shard+tp": 3}


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
    precision: dict = None  # dtypes of forward, reduction and buffers
    parts: int = 1  # groups of ranks, each of which holds the model
    unites: bool = False  # ranks have other values before, and rank 0's afterwards

    @property
    def is_fsdp(self):
        return self.family == "fsdp"

    @property
    def shards_tensors(self):
        """State dicts have DTensors."""
        return self.family in ("fully_shard", "hsdp", "tp", "fully_shard+tp")

    @property
    def computes(self):
        """A forward has the unwrapped model's output: layers under tensor parallelism may give each rank a part."""
        return self.plan is None

    @property
    def gives_dtensors(self):
        """What is sharded stands in state dicts as DTensors, that of FSDP1 in a SHARDED one."""
        return self.shards_tensors or self.is_fsdp and bool(self.mesh)

    def cuts(self, world):
        """Whether units have shards: one on a single rank does as NO_SHARD says."""
        return world > self.parts and all(wrap.options.get("sharding_strategy") != "NO_SHARD" for wrap in self.wraps)

    @property
    def rounds_buffers(self):
        return bool(self.precision) and "buffer_dtype" in self.precision

    def name(self):
        """What coverage and known deviations call it."""
        inside = {wrap.wrapper for wrap in self.wraps if wrap.path} - {"fully_shard", "fsdp"}
        flags = {"use_orig_params": self.use_orig_params, "mesh": self.is_fsdp and self.mesh, "precision": self.precision,
                 "groups": self.parts > 1}  # fmt: skip
        kind = ",".join([self.family, *(name for name, on in flags.items() if on)])
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
        "ddp": lambda: Wrapping("ddp", _extras(stream, tree, features) + (Wrap("", "ddp", {}),), unites=_unites(stream, world, features)),
        "replicate": lambda: Wrapping("replicate", (Wrap("", "replicate", {}),)),
        "fully_shard": lambda: _fully_shard_somewhere(stream, tree, inner, world, features),
        "hsdp": lambda: _hsdp(stream, inner, _mesh(stream, world)),
        "fsdp": lambda: _fsdp(stream, tree, inner, world, features),
        "tp": lambda: Wrapping("tp", (), (world,), plan=_plan(stream, tree, world)),
        "fully_shard+tp": lambda: _fully_shard_over_tp(stream, tree, world),
    }
    return makers[family]()


def _extras(stream, tree, features, kinds=("checkpoint", "compile")):
    wrappers = [name for name in kinds if name in features]
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


def _plan(stream, tree, ranks):
    """The first of a pair gives each rank a part of its output, of which the second makes the whole."""
    pairs = [pair for pair, width in tree.pairs.items() if width % ranks == 0]
    if pairs and stream.chance(0.7):
        chosen, plan = stream.subset(pairs, 0.7) or pairs[:1], {}
        for first, second in chosen:
            if first not in plan:
                plan |= {first: {"style": "colwise"}, second: {"style": "rowwise"}}
        return plan
    chosen = stream.subset(tree.linears, 0.6) or tree.linears[:1]
    return {path: {"style": stream.choice(["colwise", "rowwise"])} for path in chosen}


def _fully_shard_over_tp(stream, tree, world):
    inner = _disjoint_or_nested(stream, tree.inner)
    sharded, mesh = _fully_shard(stream, inner, "$mesh_shards"), _mesh(stream, world)
    return Wrapping("fully_shard+tp", sharded.wraps, mesh, plan=_plan(stream, tree, mesh[-1]))


def _fully_shard_somewhere(stream, tree, inner, world, features):
    """Over all ranks, or over groups of them."""
    mesh = _groups(stream, world, features)
    precision = _precision(stream, tree, features, buffers=False)
    sharded = _fully_shard(stream, inner, "$mesh_shards" if mesh else None, precision)
    extras = () if precision else _extras(stream, tree, features, ("checkpoint",))
    return replace(sharded, wraps=extras + sharded.wraps, mesh=mesh, parts=mesh[0] if mesh else 1, precision=precision)


def _unites(stream, world, features):
    return "one_rank" in features and world > 1 and stream.chance(0.3)


def _groups(stream, world, features):
    """The shape of a mesh whose rows are the groups; (): one group of all ranks."""
    numbers = [parts for parts in range(2, world + 1) if world % parts == 0]
    if "groups_of_ranks" not in features or not numbers or stream.chance(0.4):
        return ()
    parts = stream.choice(numbers)
    return (parts, world // parts)


def _precision(stream, tree, features, buffers):
    """Dtypes other than the parameters', float32. What is rounded is not compared with the unwrapped model's."""
    if "mixed" not in features or tree.dtype != "float32" or tree.has_batch_norm or stream.chance(0.3):
        return None
    chosen = stream.choice([{"param_dtype": "bfloat16"}, {"reduce_dtype": "bfloat16"}, {"reduce_dtype": "bfloat16"},
                            {"param_dtype": "bfloat16", "reduce_dtype": "float32"}])  # fmt: skip
    return {**chosen, "buffer_dtype": "bfloat16"} if buffers and tree.has_buffers and stream.chance(0.6) else chosen


def _fully_shard(stream, inner, mesh=None, precision=None):
    options = {"mp_policy": precision} if precision else {}
    if stream.chance(0.3):
        options["reshard_after_forward"] = stream.chance(0.5)
    if mesh:
        options["mesh"] = mesh
    wraps = [Wrap(path, "fully_shard", dict(options)) for path in [*inner, ""]]
    return Wrapping("fully_shard", tuple(wraps))


def _hsdp(stream, inner, shape):
    return Wrapping("hsdp", _fully_shard(stream, inner, "$mesh").wraps, shape)


def _fsdp(stream, tree, inner, world, features):
    use_orig = bool(tree.frozen) or stream.chance(0.5)
    options = {"use_orig_params": use_orig}
    strategy = stream.weighted({"FULL_SHARD": 4, "SHARD_GRAD_OP": 2, "NO_SHARD": 1})
    if strategy != "FULL_SHARD":
        options["sharding_strategy"] = strategy
    mesh = _groups(stream, world, features)
    parts = mesh[0] if mesh else 1
    if mesh:
        options["device_mesh"] = "$mesh_shards"
    elif "fsdp_mesh" in features and strategy != "NO_SHARD" and stream.chance(0.6):
        mesh, options["device_mesh"] = (world,), "$mesh"
    unites = not inner and not mesh and _unites(stream, world, features)
    if unites:
        options["sync_module_states"] = True
    precision = _precision(stream, tree, features, buffers=not inner)
    if precision:
        options["mixed_precision"] = precision
    extras = () if precision else _extras(stream, tree, features, ("checkpoint",))
    wraps = [Wrap(path, "fsdp", dict(options)) for path in [*inner, ""]]
    return Wrapping("fsdp", extras + tuple(wraps), mesh, use_orig, precision=precision, parts=parts, unites=unites)
