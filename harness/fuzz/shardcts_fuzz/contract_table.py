"""The operations of the contract with their arguments and options, read from operations.json."""

import json
from pathlib import Path

TABLE = Path(__file__).resolve().parents[2] / "contract/operations.json"  # in the source tree as in an installation


def read_contract(path):
    """{operation: names of its arguments and, after their name and a dot, of the fields of records}."""
    with open(path, encoding="utf-8") as file:
        table = json.load(file)
    records = {record["name"]: record for record in table["records"]}
    return {one["name"]: list(dict.fromkeys(_names(records, one.get("arguments", []), ""))) for one in table["operations"]}


def _names(records, fields, prefix):
    for field in fields:
        record = records.get(field["type"].removeprefix("record "))  # of lists and dicts of records the fields do not count
        if record is None:
            yield prefix + field["name"]
            continue
        for case in record.get("cases", {"": record["name"]}).values():
            yield from _names(records, records[case].get("fields", []), f"{prefix}{field['name']}.")
