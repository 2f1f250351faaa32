"""The operations of the contract with their arguments and options, read from docs/contract.md."""

import re

HEADING = re.compile(r"^### (record )?([a-z_]+(?:\.[a-z_]+)?)$")
FIELD = re.compile(r"^\| `(\"?)([a-z_0-9]+)\"?` \| ([^|]*)\|")  # in quotes: a value, such as a wrapper, with its record
RECORD = re.compile(r"^\[record ([a-z_]+)\]")  # of lists of records the fields do not count


def read_contract(path):
    """{operation: names of its arguments and, after their name and a dot, of the fields of records}."""
    tables, current = {}, None
    with open(path, encoding="utf-8") as file:
        for line in file:
            heading = HEADING.match(line)
            field = FIELD.match(line)
            if heading:
                current = tables.setdefault(heading.group(2), [])
            elif field and current is not None:
                current.append((bool(field.group(1)), field.group(2), field.group(3).strip()))
    return {name: list(dict.fromkeys(_names(tables, name, ""))) for name in tables if "." in name}


def _names(tables, table, prefix):
    rows = tables.get(table, [])
    by_value = any(quoted for quoted, _, _ in rows)
    for quoted, name, kind in rows:
        record = RECORD.match(kind)
        if by_value:
            yield from _names(tables, record.group(1), prefix) if record and quoted else ()
        elif record:
            yield from _names(tables, record.group(1), f"{prefix}{name}.")
        else:
            yield prefix + name
