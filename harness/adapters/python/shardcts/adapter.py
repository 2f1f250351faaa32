"""How an adapter is written, and how the harness calls it.

An adapter is a class with a list `capabilities`, a constructor `(rank, world_size, device, options)` and one method for
each operation of the contract that it supports, marked with `@operation(NAME)`. The method takes the operation's
arguments by name and returns its result; what it raises is the operation's error. An operation that no method names is
not supported.
"""

from __future__ import annotations

import importlib
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from shardcts import provenance

_OPERATION_ATTRIBUTE = "_shardcts_operation"

# What Python itself does not show by default: notes to the authors of libraries, not to their users.
_UNRECORDED_WARNINGS = (DeprecationWarning, PendingDeprecationWarning, ResourceWarning, ImportWarning)


class AdapterError(Exception):
    """An adapter that cannot be loaded; its text is one line."""


class NotSupported(Exception):
    """Raised by an operation for an option that the library does not have, before it does anything: the test is then
    *not supported* in place of failed. `option` is its path among the operation's arguments, "options.cpu_offload". What
    a declared capability promises cannot be refused."""

    def __init__(self, option: str, reason: str = ""):
        super().__init__(f"{option}: {reason}" if reason else option)


def operation(name: str) -> Callable:
    """Marks a method as the implementation of one operation of the contract."""

    def mark(method: Callable) -> Callable:
        setattr(method, _OPERATION_ATTRIBUTE, name)
        return method

    return mark


class Adapter:
    """Optional base class: says what else an adapter may define."""

    name = ""  # of what is tested; it and its version must be given
    version = ""
    contract_version: int | None = None  # that the adapter is written for; None: any
    based_on = ""  # the shipped implementation whose software this adapter tests, too: "torch"; its waivers hold for it
    capabilities: list[str] = []
    devices: list[str] = []  # default: the device under test
    patches: list[dict[str, str]] = []  # [{"target": …, "reason": …}]: what it changes in the software under test
    notes: dict[str, str] = {}
    packages: list[str] = []  # installed ones under test: results have their versions and digests

    def close(self) -> None:
        """Called once, after the last operation."""


def operations_of(adapter_class: type) -> dict[str, str]:
    """Operation name -> name of the method; the most derived class wins."""
    found: dict[str, str] = {}
    for base in reversed(adapter_class.__mro__):
        for attribute, member in vars(base).items():
            name = getattr(member, _OPERATION_ATTRIBUTE, None)
            if name is not None:
                found[name] = attribute
    return found


class Dispatcher:
    """Calls the methods of one adapter object by operation name."""

    def __init__(self, adapter: Any, device: str):
        self._adapter = adapter
        self._device = device
        self._methods = {name: getattr(adapter, attribute) for name, attribute in operations_of(type(adapter)).items()}
        self._methods.setdefault("implementation.describe", self._describe)
        self._methods.setdefault("implementation.reset", lambda: None)

    def invoke(self, name: str, arguments: dict) -> tuple[tuple[str, str] | None, Any, list[tuple[str, str]]]:
        """Runs one operation: (error, value, warnings), where error is None or (exception class, message)."""
        method = self._methods.get(name)
        if method is None:
            return ("NotImplementedError", f"{type(self._adapter).__name__} has no operation {name}"), None, []
        error, value = None, None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for category in _UNRECORDED_WARNINGS:
                warnings.simplefilter("ignore", category)
            try:
                value = method(**arguments)
            except BaseException as exception:  # SystemExit and the like must not end the rank
                error = (_unicode(type(exception).__name__), _text(exception))
                _forget_frames(exception)
        return error, value, [(warning.category.__name__, _unicode(str(warning.message))) for warning in caught]

    @property
    def operations(self) -> list[str]:
        return sorted(self._methods)

    def close(self) -> None:
        close = getattr(self._adapter, "close", None)
        if close is not None:
            close()

    def _describe(self) -> dict:
        adapter = self._adapter
        return {
            "name": getattr(adapter, "name", ""),
            "version": str(getattr(adapter, "version", "")),
            "based_on": str(getattr(adapter, "based_on", "")),
            "capabilities": list(getattr(adapter, "capabilities", [])),
            "devices": list(getattr(adapter, "devices", [])) or [self._device],
            "patches": [dict(patch) for patch in getattr(adapter, "patches", [])],
            "notes": {
                **provenance.file_of(type(adapter)),
                **provenance.packages(getattr(adapter, "packages", [])),
                **getattr(adapter, "notes", {}),
                "operations": ", ".join(self.operations),
            },
        }


def load(
    module: str,
    class_name: str,
    rank: int,
    world_size: int,
    device: str,
    options: dict[str, str],
    contract_version: int | None = None,
) -> Dispatcher:
    """Imports the module and makes the adapter. Raises AdapterError with one line, also for an adapter or a base class of
    another version of the contract than the harness's."""
    try:
        imported = importlib.import_module(module)
    except BaseException as exception:
        raise AdapterError(f"module '{module}' cannot be imported: {_one_line(exception)}") from exception
    adapter_class = getattr(imported, class_name, None)
    if not isinstance(adapter_class, type):
        place = getattr(imported, "__file__", None) or "no file"
        raise AdapterError(f"module '{module}' ({place}) has no class '{class_name}'")
    _check_contract(adapter_class, contract_version)
    try:
        return Dispatcher(adapter_class(rank, world_size, device, options), device)
    except BaseException as exception:
        raise AdapterError(f"constructor of '{class_name}' raised {_one_line(exception)}") from exception


def _check_contract(adapter_class: type, harness_version: int | None) -> None:
    """The class that says so is the adapter, or the base class of a package shardcts that is not this harness's."""
    for base in adapter_class.__mro__:
        written_for = vars(base).get("contract_version")
        if written_for is not None and harness_version is not None and written_for != harness_version:
            raise AdapterError(f"class '{base.__name__}' ({sys.modules[base.__module__].__file__}) is written for version "
                               f"{written_for} of the contract, this program has version {harness_version}")


def _text(exception: BaseException) -> str:
    try:
        return _unicode(str(exception))
    except Exception as second:
        return f"<its text raised {type(second).__name__}>"


def _unicode(text: str) -> str:
    """Half a character ("\\ud800") is a str in Python, but no text: it is written as a number."""
    return text.encode("utf-8", "backslashreplace").decode()


def _one_line(exception: BaseException) -> str:
    text = " ".join(_text(exception).split())
    return f"{type(exception).__name__}: {text}" if text else type(exception).__name__


def _forget_frames(exception: BaseException | None) -> None:
    """A traceback keeps the locals of every frame alive: models and their storage must not outlive the operation."""
    waiting, seen = [exception], set()
    while waiting:
        exception = waiting.pop()
        if exception is None or id(exception) in seen:  # causes may go round in a circle
            continue
        seen.add(id(exception))
        traceback.clear_frames(exception.__traceback__)
        waiting += [exception.__cause__, exception.__context__, *getattr(exception, "exceptions", ())]
