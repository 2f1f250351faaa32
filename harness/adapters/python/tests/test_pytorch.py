"""The base class of adapters on PyTorch, on one rank, with a library that wraps modules in a class of its own."""

import gc

import pytest
import torch
from torch import nn

from shardcts import torch_modules
from shardcts.adapter import load
from shardcts.pytorch import PyTorchAdapter
from shardcts.values import Handle


class Box(nn.Module):
    """Keeps what it wraps under a name that children of users have, too."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, *inputs):
        return self.module(*inputs)


class Lining(Box):
    """Stands in a box of its own, and is a part of it."""


class Boxing(PyTorchAdapter):
    name, version, capabilities = "boxes", "1", ["core", "optimizer"]
    wrapper_classes = {Lining: (None, "module"), Box: ("fsdp", "module")}
    saved: list[str] = []

    def wrap(self, root, path, wrapper, options):
        if wrapper != "fsdp":
            return super().wrap(root, path, wrapper, options)
        return torch_modules.wrap(root, path, Box)

    def state_dict(self, module, prefix=""):
        self.saved.append(type(module).__name__)
        return super().state_dict(module, prefix)

    def make_optimizer(self, module, optimizer_class, groups, arguments):
        return super().make_optimizer(module, optimizer_class, groups, {**arguments, "lr": 0.5})


@pytest.fixture
def boxing(tmp_path, monkeypatch):
    """invoke(operation, arguments…) of the adapter -> value; `.error_of` the same for what fails."""
    monkeypatch.setattr(gc, "freeze", lambda: None)
    dispatcher = load(__name__, "Boxing", 0, 1, "cpu", {"store": str(tmp_path / "store")}, 1)

    def invoke(name, **arguments):
        error, value, _ = dispatcher.invoke(name, arguments)
        assert error is None, f"{name}: {error}"
        return value

    invoke.error_of = lambda name, **arguments: dispatcher.invoke(name, arguments)[0]
    invoke.adapter = dispatcher._adapter
    yield invoke
    dispatcher.close()


def built(boxing) -> Handle:
    return boxing("model.build", model="linear_stack", args={"sizes": [2, 3, 1]})


def test_wrappers_of_the_library_show_in_no_name_and_no_path(boxing):
    model = built(boxing)
    names = list(boxing("model.parameters", model=model))
    for path in ("0", ""):
        boxing("model.wrap", model=model, path=path, wrapper="fsdp")
    assert list(boxing("model.parameters", model=model)) == names
    assert isinstance(boxing.adapter.model_of(model), Box)
    wrapped = {entry["path"]: entry["wrappers"] for entry in boxing("model.modules", model=model)}
    assert wrapped == {"": ["fsdp"], "0": ["fsdp"], "1": []}


def test_a_child_of_the_user_keeps_the_name_of_the_attribute(boxing):
    inner = nn.Sequential()
    inner.module = nn.Linear(2, 3)
    assert torch_modules.clean_name(Box(inner), "module.module.weight") == "module.weight"
    assert torch_modules.clean_name(inner, "module.weight") == "module.weight"


def test_two_objects_can_make_one_wrapper(boxing):
    root = nn.Sequential(Box(Lining(nn.Linear(2, 3))))
    assert [place.wrapper_kinds() for place in torch_modules.places(root)] == [[], ["fsdp"]]
    assert torch_modules.clean_name(root, "0.module.module.weight") == "0.weight"


def test_a_wrapper_that_the_library_lacks_is_not_supported(boxing):
    error = boxing.error_of("model.wrap", model=built(boxing), path="", wrapper="fully_shard")
    assert error == ("NotSupported", "wrapper: Boxing has no fully_shard")


def test_generic_wrappers_are_there(boxing):
    model = built(boxing)
    boxing("model.wrap", model=model, path="1", wrapper="checkpoint")
    assert boxing("model.modules", model=model)[2]["wrappers"] == ["checkpoint"]


def test_what_is_overridden_is_asked(boxing):
    model = built(boxing)
    boxing("model.state_dict", model=model)
    assert boxing.adapter.saved == ["Sequential"]
    optimizer = boxing("optimizer.create", model=model, kind="sgd", options={"lr": 0.1})
    assert boxing("optimizer.state_dict", optimizer=optimizer)["param_groups"][0]["lr"] == 0.5


def test_it_says_what_it_runs_on_and_patches_nothing(boxing):
    assert boxing("implementation.describe")["patches"] == []
    assert boxing("implementation.describe")["notes"]["torch"] == torch.__version__
