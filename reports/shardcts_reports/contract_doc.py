"""python -m shardcts_reports.contract_doc --check | --write: docs/contract.md from harness/contract/operations.json."""
import json
import re
import sys
from pathlib import Path

from .boundary import run_as_command
from .generated_page import check_or_write
from .load import InputError, load_json
from .markdown import table
from .prose import cell, prose

ROOT = Path(__file__).resolve().parent.parent.parent
TABLE = ROOT / "harness" / "contract" / "operations.json"
DOCUMENT = ROOT / "docs" / "contract.md"

GROUP_TITLES = {
    "lifecycle": "Lifecycle", "mesh": "Meshes", "model": "Models", "state": "State dicts", "tensor": "Tensors",
    "optimizer": "Optimizers", "group": "Process groups", "wrappers": "Wrappers", "fsdp1": "FSDP1",
    "optim_state": "Optimizer state", "dsd": "Distributed state dict functions", "storage": "Storage",
    "checkpoint": "Checkpoints"}
_OPERATION_FIELDS = {"name", "group", "capability", "collective", "arguments", "result", "semantics", "source"}
_OPTIONAL_FIELDS = {"errors"}
_FIELD_FIELDS = {"name", "type", "required", "values", "default", "min", "capabilities", "text"}
_RECORD_FIELDS = ({"name", "text", "fields"}, {"name", "by", "cases"})
_TYPES = {"none", "bool", "int", "double", "string", "bytes", "list", "dict", "tensor", "dtensor",
          "sharded_tensor", "folder"}

INTRODUCTION = """\
# The contract

<!-- Made from harness/contract/operations.json by `python -m shardcts_reports.contract_doc --write`. Do not edit. -->

Version {version}. An implementation fulfils the contract with one function, called on every rank:

    Outcome Invoke(operation, arguments)

The tests use nothing else of an implementation. The headers `harness/contract/*.h` define the C++
types, [formats.md](formats.md#traces) how values are written in traces and scripts, and
[the glossary](glossary.md) the terms.

## Values and outcomes

A **value** is one of: none, bool, int (64 bits), double, string, bytes, list, dict (ordered; keys
are strings or ints), tensor, dtensor, sharded tensor, handle. Tensors are shared, not copied: an
in-place change of a tensor that an implementation returned changes the implementation's tensor.

* A **tensor** is dense, has a storage that holds it, and one of these dtypes: float32, float64,
  float16, bfloat16, int64, int32, int16, int8, uint8, bool, complex64, complex128. Anything else in
  a result (sparse, nested, quantized, undefined, or repeating its elements to more than 256 MiB) is
  an error of kind ContractViolation, like lists and dicts more than 100 deep.
* A **dtensor** is one rank's view of a distributed tensor: its local part without padding, the mesh
  (device type, shape, dimension names, ranks), one placement per mesh dimension, global shape and
  stride.
* A **placement** is written `S(0)` (shard on dimension 0), `R` (replicate), `P(sum)` (partial), and
  `_S(0,2)` (strided shard on dimension 0 with split factor 2).
* A **handle** names an object inside the implementation (model, mesh, optimizer). It is valid until
  `implementation.reset`.

An **outcome** is a value, or an error: `kind`, the Python exception class that the semantics name,
and a message. Both may carry warnings (category and message, in order). An error is data: `Invoke`
must not throw.

An argument that is not required may be absent; then it has its default.

A **record** is a dict with known fields ([Records](#records)). Names, types and allowed values of
arguments and of fields are checked before `Invoke` is called: an implementation sees none that the
table does not have.

**Collective** operations are called by every rank of the world, in the same order. **Local**
operations do not communicate; a rank may call them alone.

## Capabilities

An implementation declares its capabilities. A test that needs a capability which is not declared
gets the verdict *not supported*: it does not fail, and it never counts as passed. A declared
capability must work: an error from one of its operations is a failure. Most capabilities have parts,
such as `fsdp1.sharded`, which are on a page of their own: [capabilities.md](capabilities.md).

An **option** that an implementation does not have is the error `NotSupported` on every rank, before
anything is done. Its message begins with the option's path among the arguments
(`options.cpu_offload`), and may go on with `: ` and a reason. The test is then *not supported*, too.
Options are arguments and fields of records that may be absent or have a choice of values. What is
declared by its own name cannot be refused; the tables below say which capability covers an option.

{capabilities}

## Layout

What a sharded tensor means, whoever makes it:

* names, global shapes, dtypes, mesh and placements of its entries, and the whole tensor that the
  ranks' parts form;
* that the parts tile it: along a mesh dimension that shards, ranks hold consecutive rows, in the
  order of their coordinates. How many rows are each rank's is not said;
* that what was saved can be loaded, on the same ranks in every form, and as whole tensors anywhere.

What is PyTorch's layout only, and the capability `layout.pytorch` stands for:

* a cut into chunks of ceil(rows / ranks) rows, so that later ranks may have fewer or none; zeros
  behind short parts in their storage; FSDP1's flat parameters and their chunks;
* state dicts of type LOCAL: their names (`_flat_param`), and entries that are ShardedTensors;
* tensors that a test makes itself in that cut, of any placement, and gives to load.

Tests judge an implementation without `layout.pytorch` by the cut that the sizes of all ranks' parts
show: they expect values in it, and give tensors in it. Whole state dicts have no layout. Optimizer
state is cut as its parameters are.
"""


def check_table(document: dict, path: Path = TABLE) -> None:
    """Raises InputError naming the first entry that breaks the structure of the table."""
    for problem in _problems(document):
        raise InputError(f"{path}: {problem}")


def render(document: dict) -> str:
    """docs/contract.md as text."""
    parts = [INTRODUCTION.format(version=document["contract_version"], capabilities=_capabilities(document))]
    for group in dict.fromkeys(operation["group"] for operation in document["operations"]):
        parts.append(f"## {GROUP_TITLES[group]}")
        parts += [_operation(entry) for entry in document["operations"] if entry["group"] == group]
    parts += ["## Records", *map(_record, document["records"])]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _problems(document):
    if not isinstance(document, dict) or set(document) != {"contract_version", "capabilities", "records", "operations"}:
        yield "the top must have exactly contract_version, capabilities, records, operations"
        return
    if type(document["contract_version"]) is not int or document["contract_version"] < 1:
        yield "contract_version must be a positive integer"
    capabilities = [entry.get("name") for entry in document["capabilities"]]
    for index, entry in enumerate(document["capabilities"]):
        if set(entry) - {"upstream"} != {"name", "text"} or not all(isinstance(value, str) and value for value in entry.values()):
            yield f"capabilities[{index}]: needs name and text, and may have upstream's name"
            continue
        parent = entry["name"].rpartition(".")[0]
        if parent and parent not in capabilities[:index]:
            yield f"capabilities[{index}] ({entry['name']}): must stand below {parent}"
    yield from _repeated("capability", capabilities)
    records = [entry.get("name") for entry in document["records"]]
    yield from _repeated("record", records)
    for index, entry in enumerate(document["records"]):
        for problem in _record_problems(entry, capabilities, records):
            yield f"records[{index}] ({entry.get('name')}): {problem}"
    yield from _repeated("operation", [entry.get("name") for entry in document["operations"]])
    for index, entry in enumerate(document["operations"]):
        for problem in _operation_problems(entry, capabilities, records):
            yield f"operations[{index}] ({entry.get('name')}): {problem}"
    named = json.dumps(document)
    for name in records:
        if f"record {name}\"" not in named and not any(name in entry.get("cases", {}).values()
                                                      for entry in document["records"]):
            yield f"record {name!r} is of no argument"


def _record_problems(entry, capabilities, records):
    if set(entry) not in _RECORD_FIELDS:
        yield "needs name, text and fields, or name, by and cases"
    for name in entry.get("cases", {}).values():
        if name not in records:
            yield f"unknown record {name!r}"
    yield from _repeated("field", [field.get("name") for field in entry.get("fields", [])])
    for field in entry.get("fields", []):
        yield from _field_problems("field", field, records, capabilities)


def _operation_problems(entry, capabilities, records):
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
        yield from _field_problems("argument", argument, records, capabilities)
    if not set(entry["result"]) <= {"type", "text"} or not _known_type(entry["result"].get("type"), records):
        yield f"result: unknown type or field in {entry['result']}"


def _text_problems(entry):
    for field in ("name", "semantics", "source", *(_OPTIONAL_FIELDS & set(entry))):
        if not isinstance(entry[field], str) or not entry[field].strip():
            yield f"{field} must be a text"


def _field_problems(what, field, records, capabilities):
    name = field.get("name")
    if not {"name", "type"} <= set(field) <= _FIELD_FIELDS or (what == "argument" and "required" not in field):
        yield f"{what} {name!r}: has other fields than {sorted(_FIELD_FIELDS)}, or lacks some"
        return
    required = field.get("required", False)
    if type(required) is not bool:
        yield f"{what} {name!r}: required must be true or false"
    if not _known_type(field["type"], records):
        yield f"{what} {name!r}: unknown type {field['type']!r}"
    if not required and not field.get("text") and "default" not in field:
        yield f"{what} {name!r}: an optional {what} needs a default or a text that says what its absence means"
    if "values" in field and (field["type"] != "string" or not field["values"]):
        yield f"{what} {name!r}: values are of a string, at least one"
    if "min" in field and field["type"] != "int":
        yield f"{what} {name!r}: min is of an int"
    for value, capability in field.get("capabilities", {}).items():
        if capability not in capabilities:
            yield f"{what} {name!r}: unknown capability {capability!r}"
        if value not in ("any", "true", "false", *field.get("values", [])):
            yield f"{what} {name!r}: capabilities has {value!r}, which is no value of it"
    if "default" in field and (required or not _is_allowed(field, field["default"])):
        yield f"{what} {name!r}: {field['default']!r} cannot be its default"


def _is_allowed(field, value) -> bool:
    types = {"bool": (bool,), "int": (int,), "double": (int, float), "string": (str,), "list of string": (list,)}
    return type(value) in types.get(field["type"], ()) and value in field.get("values", [value])


def _known_type(text, records) -> bool:
    def known(part):
        for container in ("list of ", "dict of "):
            if part.startswith(container):
                return known(part.removeprefix(container))
        if part.startswith("record "):
            return part.removeprefix("record ") in records
        return part in _TYPES or (part.startswith("handle ") and part.removeprefix("handle ").isidentifier())
    return isinstance(text, str) and all(known(part) for part in text.split(" or "))


def _repeated(what, names):
    for name in names:
        if names.count(name) > 1:
            yield f"{what} {name!r} stands {names.count(name)} times"


def _capabilities(document) -> str:
    rows = [[f"`{entry['name']}`", cell(entry["text"])] for entry in document["capabilities"] if "." not in entry["name"]]
    return table(["capability", "what it covers"], rows)


def _operation(entry) -> str:
    kind = "Collective" if entry["collective"] else "Local"
    result = entry["result"]["type"] + (f": {entry['result']['text']}" if entry["result"].get("text") else "")
    parts = [f"### {entry['name']}", f"*{kind}*, capability `{entry['capability']}`.", prose(entry["semantics"])]
    if entry["arguments"]:
        parts.append(_fields_table("argument", entry["arguments"]))
    else:
        parts.append("No arguments.")
    facts = [f"* Result: {prose(result)}"]
    if "errors" in entry:
        facts.append(f"* Errors: {prose(entry['errors'])}")
    return "\n\n".join(parts + ["\n".join(facts + [f"* Source: {prose(entry['source'])}"])])


def _record(entry) -> str:
    parts = [f"### record {entry['name']}"]
    if "by" in entry:
        parts.append(f"The string `{entry['by']}` chooses the fields: that of the record, else that of the arguments around "
                     "it.")
        rows = [[f'`"{case}"`', _type(f"record {record}")] for case, record in entry["cases"].items()]
        parts.append(table([f"`{entry['by']}`", "fields"], rows))
    else:
        parts.append(prose(entry["text"]))
        parts += [_fields_table("field", entry["fields"])] if entry["fields"] else []
    return "\n\n".join(parts)


def _fields_table(what, fields) -> str:
    rows = [[f"`{field['name']}`", _type(field["type"]), "yes" if field.get("required") else "no", cell(_meaning(field))]
            for field in fields]
    return table([what, "type", "required", ""], rows)


def _type(text: str) -> str:
    """Records as links to their tables."""
    return re.sub(r"record (\w+)", r"[record \1](#record-\1)", text)


def _meaning(field) -> str:
    texts = []
    if "values" in field:
        texts.append(("one of " if len(field["values"]) > 1 else "only ") + ", ".join(f'"{value}"' for value in field["values"]))
    if "min" in field:
        texts.append(f"at least {field['min']}")
    if "default" in field:
        texts.append(f"default {json.dumps(field['default'])}")
    if "capabilities" in field:
        texts.append(_of_capabilities(field["capabilities"]))
    return "; ".join(texts + ([field["text"]] if field.get("text") else []))


def _of_capabilities(by_value) -> str:
    if "any" in by_value:
        return f"capability `{by_value['any']}`"
    named = ", ".join(f"`{name}` for {value}" for value, name in by_value.items())
    return ("capabilities: " if len(by_value) > 1 else "capability ") + named


def main(arguments: list[str]) -> int:
    def text() -> str:
        document = load_json(TABLE)
        check_table(document)
        return render(document)
    return check_or_write(arguments, "contract_doc", DOCUMENT, text)


if __name__ == "__main__":
    sys.exit(run_as_command(main))
