"""The objects behind an adapter's handles."""

from __future__ import annotations

from typing import Any

from shardcts.values import Handle


class Handles:
    def __init__(self) -> None:
        self._objects: dict[int, tuple[str, Any]] = {}
        self._next_id = 1

    def add(self, kind: str, thing: Any) -> Handle:
        handle = Handle(kind, self._next_id)
        self._objects[handle.id] = (kind, thing)
        self._next_id += 1
        return handle

    def get(self, handle: Handle, kind: str) -> Any:
        """Raises ValueError when there is no such object, TypeError when the argument is no such handle."""
        if not isinstance(handle, Handle) or handle.kind != kind:
            raise TypeError(f"a {kind} handle is needed, not {handle!r}")
        if handle.id not in self._objects:
            raise ValueError(f"handle {kind}:{handle.id} is not valid any more")
        return self._objects[handle.id][1]

    def replace(self, handle: Handle, thing: Any) -> None:
        """The handle names another object from now on."""
        self._objects[handle.id] = (handle.kind, thing)

    def drop(self, handle: Handle) -> None:
        del self._objects[handle.id]

    def drop_all(self) -> None:
        self._objects.clear()
