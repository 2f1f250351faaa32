"""Random trees of modules (fixtures/models/README.md), with what the generator must know of them."""

from dataclasses import dataclass, field


LARGE = (331, 100)  # more elements than what is sent in one message, and rows that ranks have unevenly


@dataclass
class Tree:
    description: dict  # the arguments of the model "tree"
    width: int  # of the input
    shapes: dict  # of each parameter, by name, in the order of the module
    inner: list  # paths of the modules that have parameters and may be wrapped, without the root
    frozen: list = field(default_factory=list)
    ties: list = field(default_factory=list)
    has_batch_norm: bool = False
    has_extra_state: bool = False
    has_buffers: bool = False
    dtype: str = "float32"  # of all parameters
    linears: list = field(default_factory=list)  # paths of those that tensor parallelism can divide
    pairs: dict = field(default_factory=dict)  # of two of them of which the second takes the first's output: its width
    buffers: dict = field(default_factory=dict)  # the shape of each one that state dicts have, by name
    extra_state: list = field(default_factory=list)  # the names of the entries
    lost: list = field(default_factory=list)  # names of buffers that state dicts do not have

    @property
    def only_parameters(self):
        """State dicts have an entry for each parameter and no other."""
        return not (self.has_batch_norm or self.has_extra_state or self.has_buffers)

    @property
    def is_large(self):
        """Recordings have digests of some of its tensors only."""
        return list(LARGE) in self.shapes.values()

    @property
    def trains(self):
        """Arithmetic in two orders has results that are close to each other, and can be compared."""
        return self.dtype in ("float32", "float64") and not self.is_large

    def layouts(self, world):
        """The classes of layout that its parameters have when they are cut by rows."""
        return {layout_class(shape, world) for shape in self.shapes.values()}


def layout_class(shape, world):
    if not shape or world == 1:
        return "plain"
    if 0 in shape:
        return "no elements"
    if shape[0] < world:
        return "empty shard"
    return "even" if shape[0] % world == 0 else "uneven"


class TreeMaker:
    def __init__(self, stream, world, features):
        self._stream = stream
        self._world = world
        self._features = features
        self._shapes = {}
        self._inner = []
        self._left = 2 + stream.below(4)  # leaves
        self._linears = {}  # (in, out) -> paths
        self._pairs = {}
        self._bare_linears = 0  # so many of the next layers are linear and have nothing else
        self._flags = set()
        self._buffers, self._extra, self._lost = {}, [], []
        self._dtype = stream.choice(["float64", "bfloat16", "float16"]) if "dtypes" in features else "float32"

    def make(self):
        width = self._size()
        root, _ = self._module("", width, 0)
        if not self._shapes:
            root["parameters"] = {"extra": self._typed({"shape": [self._size(), 2]})}
            self._shapes["extra"] = root["parameters"]["extra"]["shape"]
        arguments = {"root": root, "in": width, "values": "coded", "scale": 2.0**-14}
        tree = Tree(arguments, width, self._shapes, self._inner, dtype=self._dtype, buffers=self._buffers,
                    extra_state=self._extra, lost=self._lost)  # fmt: skip
        bare = [path for paths in self._linears.values() for path in paths if f"{path}.extra" not in self._shapes]
        tree.linears = bare  # a layer's style says nothing of further parameters
        tree.pairs = {pair: width for pair, width in self._pairs.items() if set(pair) <= set(bare)}
        self._tie(tree)
        if "frozen" in self._features and len(tree.shapes) > 1:
            tree.frozen = self._stream.subset(list(tree.shapes), 0.3)[: len(tree.shapes) - 1]
            tied = {name for names in tree.ties for name in names}
            tree.frozen = [name for name in tree.frozen if name not in tied]
            arguments["frozen"] = tree.frozen
        tree.has_batch_norm = "batch_norm" in self._flags
        tree.has_buffers = "buffers" in self._flags
        tree.has_extra_state = "extra_state" in self._flags
        return tree

    def _typed(self, description):
        return description if self._dtype == "float32" else {**description, "dtype": self._dtype}

    def _size(self):
        world = self._world
        sizes = [1, 2, 3, 5, 7, world, world + 1, 2 * world, 2 * world + 1, max(world - 1, 1)]
        return self._stream.choice(sizes)

    def _module(self, path, width, depth):
        stream = self._stream
        if depth < 3 and not self._bare_linears and (depth == 0 or stream.chance(0.3)):
            return self._composite(path, width, depth)
        return self._leaf(path, width)

    def _composite(self, path, width, depth):
        stream = self._stream
        kind = "branch" if stream.chance(0.25) else "sequential"
        count = 1 + stream.below(3)
        names = [str(i) for i in range(count)] if stream.chance(0.5) else self._names(count)
        children, out = {}, width
        total = 0
        before = len(self._shapes)
        if kind == "sequential" and count > 1 and "tp" in self._features and stream.chance(0.6):
            self._bare_linears, self._left = 2, max(self._left, 2)
        for name in names:
            if self._left <= 0 and children:
                break
            child, child_out = self._module(f"{path}.{name}" if path else name, width if kind == "branch" else out, depth + 1)
            children[name] = child
            out, total = child_out, total + child_out
        module = {"kind": kind, "children": children}
        if kind == "sequential":
            self._pair(path, children)
        self._decorate(module, path)
        if path and len(self._shapes) > before:
            self._inner.append(path)
        return module, total if kind == "branch" else out

    def _pair(self, path, children):
        """Layers that follow each other, or with nothing but a ReLU between them."""
        before = None
        for name, child in children.items():
            place = f"{path}.{name}" if path else name
            if child["kind"] == "linear":
                if before:
                    self._pairs[before[0], place] = before[1]
                before = (place, child["out"])
            elif child["kind"] != "relu" or "parameters" in child:
                before = None

    def _names(self, count):
        strange = ["module", "state", "param_groups", "step", "weight_", "a b", "x"] if "names" in self._features else []
        pool = ["a", "b", "c", "d", "e", "first", "last"] + strange
        names = []
        while len(names) < count:
            name = self._stream.choice(pool)
            if name not in names:
                names.append(name)
        return names

    def _leaf(self, path, width):
        stream = self._stream
        self._left -= 1
        weights = {"linear": 6, "layer_norm": 1, "bare": 2, "relu": 1}
        if not self._shapes:
            weights["embedding"] = 1  # gradients of what comes before it end there
        if "batch_norm" in self._features:
            weights["batch_norm"] = 2
        is_bare = self._bare_linears > 0
        kind = "linear" if is_bare else stream.weighted(weights)
        out = width
        module = {"kind": kind} if kind in ("bare", "relu") else self._typed({"kind": kind})
        before = len(self._shapes)
        if kind == "linear":
            out = module["out"] = self._width_after(width)
            module["bias"] = stream.chance(0.6)
            self._shapes[f"{path}.weight"] = [out, width]
            if module["bias"]:
                self._shapes[f"{path}.bias"] = [out]
            self._linears.setdefault((width, out), []).append(path)
            self._bare_linears = max(0, self._bare_linears - 1)
        elif kind == "embedding":
            out, module["count"] = self._size(), self._size()
            module["out"] = out
            self._shapes[f"{path}.weight"] = [module["count"], out]
        elif kind in ("layer_norm", "batch_norm"):
            self._shapes[f"{path}.weight"] = [width]
            self._shapes[f"{path}.bias"] = [width]
            if kind == "batch_norm":
                self._flags.add("batch_norm")
                self._buffers |= {f"{path}.running_mean": [width], f"{path}.running_var": [width], f"{path}.num_batches_tracked": []}
        if not is_bare:
            self._decorate(module, path, kind == "bare")
        if len(self._shapes) > before:
            self._inner.append(path)
        return module, out

    def _width_after(self, width):
        """Where layers may be tied many are alike."""
        if self._bare_linears == 2 or "tp" in self._features and self._stream.chance(0.3):  # what ranks have evenly
            return self._world * (1 + self._stream.below(2))
        alike = [out for taken, out in self._linears if taken == width] or [width]
        return self._stream.choice(alike) if "ties" in self._features and self._stream.chance(0.7) else self._size()

    def _decorate(self, module, path, always=False):
        stream = self._stream
        prefix = f"{path}." if path else ""
        large = "large" in self._features and stream.chance(0.5)
        if always or large or ("parameters" in self._features and stream.chance(0.2)):
            shape = list(LARGE) if large else [self._size() for _ in range(1 + stream.below(3))]
            if "no_elements" in self._features and stream.chance(0.2):
                shape[stream.below(len(shape))] = 0
            module["parameters"] = {"extra": self._typed({"shape": shape})}
            self._add_before_children(f"{prefix}extra", shape, prefix)
        if "buffers" in self._features and stream.chance(0.3):
            dtype = stream.choice(["float32", "float64", "int64", "bool", "bfloat16"])
            self._flags.add("buffers")
            module["buffers"] = {"kept": {"shape": [self._size()], "dtype": dtype}}
            self._buffers[f"{prefix}kept"] = module["buffers"]["kept"]["shape"]
            if stream.chance(0.3):
                module["buffers"]["lost"] = {"shape": [2], "persistent": False}
                self._lost.append(f"{prefix}lost")
        if "extra_state" in self._features and stream.chance(0.2):
            module["extra_state"] = stream.choice([1, "text", {"a": [1, 2]}, [1.5], True])
            self._flags.add("extra_state")
            self._extra.append(f"{prefix}_extra_state")

    def _add_before_children(self, name, shape, prefix):
        """A module's own parameters come before those of its children."""
        shapes, own = {}, False
        for known, known_shape in self._shapes.items():
            inside = known.startswith(prefix) and "." in known[len(prefix) :]
            if inside and not own:
                shapes[name], own = shape, True
            shapes[known] = known_shape
        shapes.setdefault(name, shape)
        self._shapes.clear()
        self._shapes.update(shapes)

    def _tie(self, tree):
        if "ties" not in self._features:
            return
        for paths in self._linears.values():
            if len(paths) > 1:
                tree.ties.append([f"{path}.weight" for path in paths[:2]])
        if tree.ties:
            tree.description["ties"] = tree.ties
