"""What was never tried, as tables for people: OUT/coverage.md."""

SHOWN = [("operation", "wrapper"), ("operation", "state"), ("operation", "layout"), ("operation", "dtype"), ("option", "wrapper"),
         ("option", "state"), ("option", "layout"), ("form", "wrapper"), ("form", "state"), ("form", "optimizer"),
         ("fault", "form"), ("fault", "wrapper"), ("after", "action")]  # fmt: skip


def page(coverage, contract):
    """Its lines. `contract`: as of contract_table.read_contract."""
    operations, options = coverage.never_of(contract)
    lines = ["# What was never tried", "", f"{len(operations)} of {len(contract)} operations of the contract: "
             f"{', '.join(f'`{name}`' for name in operations) or 'none'}.", ""]  # fmt: skip
    lines += [f"{len(options)} arguments and options of the others:", "", "| operation | never given |", "| --- | --- |"]
    for name in dict.fromkeys(option.split()[0] for option in options):
        never = [option.split()[1] for option in options if option.split()[0] == name]
        lines.append(f"| `{name}` | {', '.join(f'`{one}`' for one in never)} |")
    rows = {tuple(row["dimensions"]): row for row in coverage.table()}
    for pair in SHOWN:
        row = rows.get(tuple(sorted(pair)))
        if row:
            lines += ["", *_table(pair, row)]
    return lines


def _table(pair, row):
    """For each value of the first dimension the values of the second that it never met."""
    first = row["dimensions"].index(pair[0])
    lines = [f"## {pair[0]} × {pair[1]}: {row['tried']} of {row['possible']} pairs", "", f"| {pair[0]} | never with |", "| --- | --- |"]
    never = {}
    for values in row["never"]:
        never.setdefault(values[first], []).append(values[1 - first])
    return lines + [f"| {_cell(value)} | {', '.join(map(_cell, others))} |" for value, others in sorted(never.items())]


def _cell(text):
    return "`" + text.replace("|", "\\|") + "`"
