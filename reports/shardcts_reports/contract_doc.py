"""python -m shardcts_reports.contract_doc --check | --write: docs/contract.md from harness/contract/operations.json."""
import argparse
import re
import sys
from pathlib import Path

from .boundary import run_as_command
from .load import InputError, load_json
from .markdown import table
from .write import write_files

ROOT = Path(__file__).resolve().parent.parent.parent
TABLE = ROOT / "harness" / "contract" / "operations.json"
DOCUMENT = ROOT / "docs" / "contract.md"

GROUP_TITLES = {
    "lifecycle": "Lifecycle", "mesh": "Meshes", "model": "Models", "state": "State dicts", "tensor": "Tensors",
    "optimizer": "Optimizers", "group": "Process groups", "wrappers": "Wrappers", "fsdp1": "FSDP1",
    "optim_state": "Optimizer state", "dsd": "Distributed state dict functions", "storage": "Storage"}
_OPERATION_FIELDS = {"name", "group", "capability", "collective", "arguments", "result", "semantics", "source"}
_OPTIONAL_FIELDS = {"errors"}
_TYPES = {"none", "bool", "int", "double", "string", "bytes", "list", "dict", "tensor", "dtensor",
          "sharded_tensor", "any"}

INTRODUCTION = """\
# The contract

<!-- Made from harness/contract/operations.json by `python -m shardcts_reports.contract_doc --write`. Do not edit. -->

Version {version}. An implementation fulfils the contract with one function, called on every rank:

    Outcome Invoke(operation, arguments)

The tests know nothing else of it. The headers `harness/contract/*.h` give the C++ types; `docs/formats.md`
says how values are written in traces and scripts.

## Values and outcomes

A **value** is one of: none, bool, int (64 bits), double, string, bytes, list, dict (ordered; keys are strings
or ints), tensor, dtensor, sharded tensor, handle. Tensors are shared, not copied: who changes a tensor that
came from the implementation in place changes the implementation's own.

* A **tensor** is dense, has a storage that holds it, and one of these dtypes: float32, float64, float16, bfloat16,
  int64, int32, int16, int8, uint8, bool, complex64, complex128. Anything else in a result (sparse, nested,
  quantized, undefined, or repeating its elements to more than 256 MiB) is an error of kind ContractViolation, like
  lists and dicts more than 100 deep.
* A **dtensor** is what one rank sees of a distributed tensor: its local part without padding, the mesh
  (device type, shape, dimension names, ranks), one placement per mesh dimension, global shape and stride.
* A **placement** is written `S(0)` (shard on dimension 0), `R` (replicate), `P(sum)` (partial), and `_S(0,2)`
  (strided shard on dimension 0 with split factor 2).
* A **handle** names an object inside the implementation (model, mesh, optimizer). It is valid until
  `implementation.reset`.

An **outcome** is a value, or an error: `kind`, the Python exception class that the semantics name, and a
message. Both may carry warnings (category and message, in order). An error is data: `Invoke` must not throw.

An argument that is not required may be absent and then has its default.

**Collective** operations are called by every rank of the world, in the same order. **Local** ones communicate
with nobody; a rank may call them alone.

## Capabilities

An implementation declares what it can do. A test that needs a capability which is not declared gets the
verdict *not supported*: it does not fail, and it never counts as passed. What is declared must work: an error
from a declared operation is a failure.
"""


def check_table(document: dict, path: Path = TABLE) -> None:
    """Raises InputError naming the first entry that breaks the structure of the table."""
    for problem in _problems(document):
        raise InputError(f"{path}: {problem}")


def render(document: dict) -> str:
    """docs/contract.md as text."""
    parts = [INTRODUCTION.format(version=document["contract_version"]), _capabilities(document)]
    for group in dict.fromkeys(operation["group"] for operation in document["operations"]):
        parts.append(f"## {GROUP_TITLES[group]}")
        parts += [_operation(entry) for entry in document["operations"] if entry["group"] == group]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _problems(document):
    if not isinstance(document, dict) or set(document) != {"contract_version", "capabilities", "operations"}:
        yield "the top must have exactly contract_version, capabilities, operations"
        return
    if type(document["contract_version"]) is not int or document["contract_version"] < 1:
        yield "contract_version must be a positive integer"
    capabilities = [entry.get("name") for entry in document["capabilities"]]
    for index, entry in enumerate(document["capabilities"]):
        if set(entry) != {"name", "text"} or not all(isinstance(value, str) and value for value in entry.values()):
            yield f"capabilities[{index}]: needs exactly name and text"
    yield from _repeated("capability", capabilities)
    yield from _repeated("operation", [entry.get("name") for entry in document["operations"]])
    for index, entry in enumerate(document["operations"]):
        for problem in _operation_problems(entry, capabilities):
            yield f"operations[{index}] ({entry.get('name')}): {problem}"


def _operation_problems(entry, capabilities):
    missing, unknown = _OPERATION_FIELDS - set(entry), set(entry) - _OPERATION_FIELDS - _OPTIONAL_FIELDS
    if missing or unknown:
        yield f"fields missing: {sorted(missing)}, unknown: {sorted(unknown)}"
        return
    if entry["capability"] not in capabilities:
        yield f"unknown capability {entry['capability']!r}"
    if entry["group"] not in GROUP_TITLES:
        yield f"unknown group {entry['group']!r}"
    if type(entry["collective"]) is not bool:
        yield "collective must be true or false"
    yield from _text_problems(entry)
    yield from _repeated("argument", [argument.get("name") for argument in entry["arguments"]])
    for argument in entry["arguments"]:
        yield from _argument_problems(argument)
    if not set(entry["result"]) <= {"type", "text"} or not _known_type(entry["result"].get("type")):
        yield f"result: unknown type or field in {entry['result']}"


def _text_problems(entry):
    for field in ("name", "semantics", "source", *(_OPTIONAL_FIELDS & set(entry))):
        if not isinstance(entry[field], str) or not entry[field].strip():
            yield f"{field} must be a text"


def _argument_problems(argument):
    name = argument.get("name")
    if not {"name", "type", "required"} <= set(argument) <= {"name", "type", "required", "text"}:
        yield f"argument {name!r}: needs name, type, required, and may have text"
        return
    if type(argument["required"]) is not bool:
        yield f"argument {name!r}: required must be true or false"
    if not _known_type(argument["type"]):
        yield f"argument {name!r}: unknown type {argument['type']!r}"
    if not argument["required"] and not argument.get("text"):
        yield f"argument {name!r}: an optional argument needs a text that says what its absence means"


def _known_type(text) -> bool:
    def known(part):
        if part.startswith("list of "):
            return known(part.removeprefix("list of "))
        return part in _TYPES or (part.startswith("handle ") and part.removeprefix("handle ").isidentifier())
    return isinstance(text, str) and all(known(part) for part in text.split(" or "))


def _repeated(what, names):
    for name in names:
        if names.count(name) > 1:
            yield f"{what} {name!r} stands {names.count(name)} times"


def _capabilities(document) -> str:
    rows = [[f"`{entry['name']}`", _cell(entry["text"])] for entry in document["capabilities"]]
    return table(["capability", "what it covers"], rows)


def _operation(entry) -> str:
    kind = "Collective" if entry["collective"] else "Local"
    result = entry["result"]["type"] + (f": {entry['result']['text']}" if entry["result"].get("text") else "")
    parts = [f"### {entry['name']}", f"*{kind}*, capability `{entry['capability']}`.", _prose(entry["semantics"])]
    if entry["arguments"]:
        rows = [[f"`{argument['name']}`", argument["type"], "yes" if argument["required"] else "no",
                 _cell(argument.get("text", ""))] for argument in entry["arguments"]]
        parts.append(table(["argument", "type", "required", ""], rows))
    else:
        parts.append("No arguments.")
    facts = [f"* Result: {_prose(result)}"]
    if "errors" in entry:
        facts.append(f"* Errors: {_prose(entry['errors'])}")
    return "\n\n".join(parts + ["\n".join(facts + [f"* Source: {_prose(entry['source'])}"])])


def _prose(text: str) -> str:
    """Text outside code spans, with the characters that Markdown would take for markup escaped."""
    pieces = text.split("`")
    pieces[::2] = [_escape(piece) for piece in pieces[::2]]
    return "`".join(pieces)


def _escape(text: str) -> str:
    # Underscores inside a word are no markup.
    return re.sub(r"[\\*<\[]|(?<![^\W_])_+|_+(?![^\W_])", lambda found: "".join("\\" + c for c in found[0]), text)


def _cell(text: str) -> str:
    return _prose(text).replace("|", "\\|")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="shardcts_reports.contract_doc")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true", help="fail when docs/contract.md is stale")
    action.add_argument("--write", action="store_true", help="write docs/contract.md")
    options = parser.parse_args(arguments)
    document = load_json(TABLE)
    check_table(document)
    text = render(document)
    if options.write:
        write_files(DOCUMENT.parent, {DOCUMENT.name: text.encode()})
    elif not DOCUMENT.exists() or DOCUMENT.read_text(encoding="utf-8") != text:
        print(f"{DOCUMENT}: stale; python -m shardcts_reports.contract_doc --write makes it anew", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run_as_command(main))
