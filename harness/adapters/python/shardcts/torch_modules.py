"""Modules by clean FQN: wrappers (FSDP, activation checkpoint, DDP, compile) stand in the module tree and never show in a path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn
from torch._dynamo.eval_frame import OptimizedModule
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import CheckpointWrapper
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn.parallel import DistributedDataParallel

# The kind of a wrapper and the attribute that holds what it wraps.
_WRAPPERS = {
    FullyShardedDataParallel: ("fsdp", "_fsdp_wrapped_module"),
    CheckpointWrapper: ("checkpoint", "_checkpoint_wrapped_module"),
    DistributedDataParallel: ("ddp", "module"),
    OptimizedModule: ("compile", "_orig_mod"),
}
_NAME_PARTS = ("_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_orig_mod")
_FOREIGN_WRAPPERS: dict[type[nn.Module], tuple[str | None, str]] = {}


def know_wrappers(wrappers: dict[type[nn.Module], tuple[str | None, str]]) -> None:
    """Wrappers of other libraries: by class the contract's name of the wrapper, and the attribute that holds the module.
    None: the inner one of two objects that make one wrapper."""
    _FOREIGN_WRAPPERS.update(wrappers)


def _wrapper_of(module: nn.Module) -> tuple[str | None, str] | None:
    known = _FOREIGN_WRAPPERS | _WRAPPERS if _FOREIGN_WRAPPERS else _WRAPPERS
    return next((entry for kind, entry in known.items() if isinstance(module, kind)), None)


@dataclass(frozen=True)
class Place:
    """Where a module stands: all objects at one clean path, outermost wrapper first, the module itself last."""

    path: str
    parent: nn.Module | None  # the module, without its wrappers, that holds the outermost object; None: the root
    attribute: str
    objects: list[nn.Module]

    @property
    def module(self) -> nn.Module:
        return self.objects[-1]

    @property
    def outermost(self) -> nn.Module:
        return self.objects[0]

    def wrapper_kinds(self) -> list[str]:
        kinds = [_wrapper_of(wrapper)[0] for wrapper in self.objects[:-1]]
        return [kind for kind in kinds if kind is not None]


def _objects(outermost: nn.Module) -> list[nn.Module]:
    objects = [outermost]
    while (wrapper := _wrapper_of(objects[-1])) is not None:
        objects.append(getattr(objects[-1], wrapper[1]))
    return objects


def places(root: nn.Module) -> Iterator[Place]:
    """Every module once, in the order of named_modules."""
    seen: set[int] = set()

    def walk(place: Place) -> Iterator[Place]:
        if id(place.module) in seen:
            return
        seen.add(id(place.module))
        yield place
        for name, child in place.module.named_children():
            path = f"{place.path}.{name}" if place.path else name
            yield from walk(Place(path, place.module, name, _objects(child)))

    yield from walk(Place("", None, "", _objects(root)))


def place_at(root: nn.Module, path: str) -> Place:
    """Raises AttributeError when there is no such module."""
    place = Place("", None, "", _objects(root))
    walked = ""
    for name in path.split(".") if path else ():
        child = place.module._modules.get(name)
        if child is None:
            raise AttributeError(f"no module '{path}': '{walked}' has no child '{name}'")
        walked = f"{walked}.{name}" if walked else name
        place = Place(walked, place.module, name, _objects(child))
    return place


def wrap(root: nn.Module, path: str, make: Callable[[nn.Module], nn.Module], innermost: bool = False) -> nn.Module:
    """Puts make(module) around the module at the path, outside or inside of its wrappers. Returns the root to use from now on."""
    place = place_at(root, path)
    if innermost and len(place.objects) > 1:
        holder = place.objects[-2]
        setattr(holder, _wrapper_of(holder)[1], make(place.module))
        return root
    wrapped = make(place.outermost)
    if place.parent is None:
        return wrapped
    setattr(place.parent, place.attribute, wrapped)
    return root


def clean_name(root: nn.Module, name: str) -> str:
    """The name of a parameter or buffer without the parts that wrappers put into it."""
    parts = _without_foreign_wrappers(root, name.split(".")) if _FOREIGN_WRAPPERS else name.split(".")
    if isinstance(root, DistributedDataParallel) and parts[0] == "module":
        parts = parts[1:]
    return ".".join(part for part in parts if part not in _NAME_PARTS)


def _without_foreign_wrappers(root: nn.Module, parts: list[str]) -> list[str]:
    """By the modules on the way, not by name: the attribute of a wrapper may be the name of somebody's child."""
    kept, module = [], root
    for part in parts:
        is_hidden = any(isinstance(module, kind) and part == held for kind, (_, held) in _FOREIGN_WRAPPERS.items())
        if not is_hidden:
            kept.append(part)
        module = getattr(module, "_modules", {}).get(part)
    return kept


def path_of(root: nn.Module, wanted: nn.Module) -> str:
    """The clean path at which a module or a wrapper stands."""
    for place in places(root):
        if any(wanted is known for known in place.objects):
            return place.path
    raise ValueError(f"{type(wanted).__name__} is no module of the model")
