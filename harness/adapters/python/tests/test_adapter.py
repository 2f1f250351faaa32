"""How adapters are loaded and called, without C++."""

import hashlib
import re
import warnings
from pathlib import Path

import pytest

from shardcts.adapter import Adapter, AdapterError, Dispatcher, load, operation, operations_of
from shardcts.pytorch import PyTorchAdapter


class Counter(Adapter):
    name, version, capabilities = "counter", "2", ["core"]
    patches = [{"target": "x", "reason": "y"}]

    def __init__(self, rank=0, world_size=1, device="cpu", options=None):
        self.count, self.closed = 0, False

    @operation("count.up")
    def up(self, by=1):
        self.count += by
        return self.count

    def close(self):
        self.closed = True


class Doubled(Counter):
    @operation("count.up")
    def up_twice(self, by=1):
        return self.up(2 * by)


def test_operations_are_found_and_the_derived_class_wins():
    assert operations_of(Counter) == {"count.up": "up"}
    assert Dispatcher(Counter(), "cpu").invoke("count.up", {"by": 2}) == (None, 2, [])
    assert Dispatcher(Doubled(), "cpu").invoke("count.up", {"by": 2}) == (None, 4, [])


def test_describe_says_what_the_class_says():
    described = Dispatcher(Counter(), "cuda").invoke("implementation.describe", {})[1]
    digest = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    assert described["notes"].pop("adapter") == f"test_adapter.py, sha256 {digest}"
    assert described == {
        "name": "counter", "version": "2", "based_on": "", "capabilities": ["core"], "devices": ["cuda"],
        "patches": [{"target": "x", "reason": "y"}],
        "notes": {"operations": "count.up, implementation.describe, implementation.reset"},
    }


def test_packages_have_versions_and_digests():
    class Packaged(Counter):
        packages = ["pytest", "no-such-package"]

    notes = Dispatcher(Packaged(), "cpu").invoke("implementation.describe", {})[1]["notes"]
    assert re.fullmatch(rf"{re.escape(pytest.__version__)}, sha256 of RECORD [0-9a-f]{{16}}", notes["package pytest"])
    assert notes["package no-such-package"] == "is not installed"


def test_base_class_is_optional():
    class Bare:
        pass

    described = Dispatcher(Bare(), "cpu").invoke("implementation.describe", {})[1]
    assert described["name"] == "" and described["capabilities"] == [] and described["patches"] == []
    Dispatcher(Bare(), "cpu").close()


def test_what_is_not_named_is_not_supported():
    error, value, _ = Dispatcher(Counter(), "cpu").invoke("count.down", {})
    assert error == ("NotImplementedError", "Counter has no operation count.down") and value is None


def test_wrong_arguments_are_a_type_error():
    error, _, _ = Dispatcher(Counter(), "cpu").invoke("count.up", {"sideways": 1})
    assert error[0] == "TypeError" and "sideways" in error[1]


def test_causes_that_go_round_in_a_circle_end():
    class Circular:
        @operation("x")
        def x(self) -> None:
            error = RuntimeError("x")
            raise error from error

    class Grouped(Circular):
        @operation("y")
        def y(self) -> None:
            raise ExceptionGroup("y", [ValueError("inner")])

    assert Dispatcher(Circular(), "cpu").invoke("x", {})[0][:2] == ("RuntimeError", "x")
    assert Dispatcher(Grouped(), "cpu").invoke("y", {})[0][0] == "ExceptionGroup"


def test_close_is_called():
    counter = Counter()
    Dispatcher(counter, "cpu").close()
    assert counter.closed


def test_warnings_before_an_error_are_kept():
    class Careful:
        @operation("x")
        def x(self):
            warnings.warn("careful", FutureWarning)
            raise LookupError("gone")

    answer = Dispatcher(Careful(), "cpu").invoke("x", {})
    assert answer == (("LookupError", "gone"), None, [("FutureWarning", "careful")])


@pytest.mark.parametrize(
    "module, class_name, text",
    [
        ("no_such_module", "A", "module 'no_such_module' cannot be imported: ModuleNotFoundError: "),
        ("failing_module", "A", "module 'failing_module' cannot be imported: OSError: libvendor.so is missing"),
        ("bridge_adapter", "Missing", "has no class 'Missing'"),
        ("bridge_adapter", "FailingConstructor", "constructor of 'FailingConstructor' raised KeyError: "),
    ],
)
def test_load_errors_are_one_line(module, class_name, text):
    with pytest.raises(AdapterError) as caught:
        load(module, class_name, 0, 1, "cpu", {})
    assert text in str(caught.value) and "\n" not in str(caught.value)


class OfTheFuture(Counter):
    contract_version = 7


class BuiltOnTheFuture(OfTheFuture):
    pass


@pytest.mark.parametrize("class_name", ["OfTheFuture", "BuiltOnTheFuture"])
def test_another_version_of_the_contract_is_one_line(class_name):
    with pytest.raises(AdapterError) as caught:
        load(__name__, class_name, 0, 1, "cpu", {}, 1)
    assert str(caught.value) == (f"class 'OfTheFuture' ({__file__}) is written for version 7 of the contract, this program "
                                 "has version 1")
    assert load(__name__, "Doubled", 0, 1, "cpu", {}, 1).invoke("count.up", {})[1] == 2


def test_the_base_class_is_of_this_contract():
    header = Path(__file__).resolve().parents[3] / "contract/version_number.h"
    assert f"#define SHARDCTS_CONTRACT_VERSION {PyTorchAdapter.contract_version}\n" in header.read_text()


def test_the_example_of_the_documentation():
    run = load("minimal_adapter", "MinimalAdapter", 0, 1, "cpu", {}).invoke
    assert run("implementation.seed", {"seed": 1})[0] is None
    model = run("model.build", {"model": "linear_stack", "args": {"sizes": [2, 3, 1]}})[1]
    state = run("model.state_dict", {"model": model})[1]
    assert list(state) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    loaded = run("model.load_state_dict", {"model": model, "state_dict": state})[1]
    assert loaded == {"missing_keys": [], "unexpected_keys": []}
    assert run("model.load_state_dict", {"model": model, "state_dict": {}})[0][0] == "RuntimeError"


def test_the_documentation_shows_lines_of_the_example():
    root = Path(__file__).resolve().parents[4]
    example = (root / "harness/adapters/python/examples/minimal_adapter.py").read_text().splitlines()
    page = (root / "docs/adapters.md").read_text().splitlines()
    begin = page.index("    class MinimalAdapter:")
    end = next(i for i in range(begin, len(page)) if page[i] and not page[i].startswith("    "))
    shown = [line.removeprefix("    ") for line in page[begin:end] if line.strip()]
    assert len(shown) > 5 and [line for line in shown if line not in example] == []
