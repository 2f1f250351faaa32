"""Writes a suite's upstream.json, from its source.json and inventory_rules.json.

usage: python suites/make_inventory.py suites/NAME [--check]

The source describes upstream's test file: functions, instances with their parameters, checks. The rules say how ShardCTS
counts it: subtests as grids, capabilities, ranks, ratings (docs/formats.md). Without --check the inventory is written;
with --check nothing is written, and the exit code is 1 when the file there is not what would be written. What the rules
name and the source does not have is an error, exit code 2.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys

_RULES = {"suite", "capabilities", "capabilities_of_all", "ranks", "when", "checks", "values", "functions"}
_CHECK_KEYS = ("id", "what", "strength", "strict_form", "ranks", "active", "inactive", "required", "phase")


class RulesError(Exception):
    """The rules do not fit the source."""


def inventory(source: dict, rules: dict) -> dict:
    unknown = set(rules) - _RULES
    if unknown:
        raise RulesError(f"there are no rules named {', '.join(sorted(unknown))}")
    unknown = set(rules["functions"]) - {test["function"] for test in source["tests"]}
    if unknown:
        raise RulesError(f"no function of the source is named {', '.join(sorted(unknown))}")
    return {
        "suite": rules["suite"],
        "source": {key: source["source"][key] for key in ("repo", "path", "commit")},
        "tests": [_function(test, rules, rules["functions"].get(test["function"], {})) for test in source["tests"]],
    }


def _function(test: dict, rules: dict, own: dict) -> dict:
    return {
        "function": test["function"],
        **({"file": test["file"]} if "file" in test else {}),
        "instances": [_instance(name, test, rules, own) for name in test["instances"]],
        "capabilities": _capabilities(test, rules, own),
        **({"needs": own["needs"]} if "needs" in own else {}),
        **({"phases": own["phases"]} if "phases" in own else {"world_sizes": test["world_sizes"]}),
        "subtests": own.get("subtests", []),
        "checks": _checks(test, rules, own),
    }


def _capabilities(test: dict, rules: dict, own: dict) -> list[str]:
    """Those that all tests of the function need: not what its `needs` say of some."""
    of_some = {name for need in own.get("needs", []) if "when" in need for name in need["capabilities"]}
    needed = {rules["capabilities"][feature] for feature in test["features"] if feature in rules["capabilities"]}
    in_order = dict.fromkeys(rules["capabilities"].values())
    named = [name for name in in_order if name in needed]
    of_all = ["core", *rules.get("capabilities_of_all", []), *named, *own.get("capabilities", [])]
    return [name for name in of_all if name not in of_some]


def _instance(name: str, test: dict, rules: dict, own: dict) -> dict:
    parameters = test.get("instance_parameters", {}).get(name, {})
    details = test.get("instance_details", {}).get(name, {"parameters": parameters})
    named = rules.get("values", {})
    params = {key: named.get(key, {}).get(value, value)
              for key in test.get("parameters", {}) if key in details["parameters"]
              for value in [details["parameters"][key]]}
    entry = {"id": name, "params": params}
    reasons = [rule["reason"] for rule in own.get("not_applicable", []) if _matches(rule["when"], params)]
    if bool(reasons) != details.get("returns_early", bool(reasons)):
        raise RulesError(f"{name} returns early upstream: {details['returns_early']}; reasons in the rules: {reasons}")
    if reasons:
        entry["not_applicable"] = reasons[0]
    return entry


def _matches(when: dict, params: dict) -> bool:
    return all(params.get(key) in values for key, values in when.items())


def _checks(test: dict, rules: dict, own: dict) -> list[dict]:
    changes = own.get("checks", {})
    unknown = set(changes) - {check["id"] for check in test["checks"]}
    if unknown:
        raise RulesError(f"{test['function']} has no check {', '.join(sorted(unknown))}")
    checks = []
    for check in test["checks"]:
        change = changes.get(check["id"], {})
        for one in change if isinstance(change, list) else [change]:
            checks += _entries(check, rules, one)
    return checks


def _entries(check: dict, rules: dict, change: dict) -> list[dict]:
    """One entry for each case that the ranks depend on."""
    if "ranks" not in change and check["ranks"] not in rules["ranks"]:
        raise RulesError(f"check {check['id']}: the rules do not say what ranks '{check['ranks']}' is")
    ranks = change.get("ranks") or rules["ranks"][check["ranks"]]
    cases = ranks if isinstance(ranks, list) and isinstance(ranks[0], dict) else [{"ranks": ranks}]
    return [_entry(check, rules, change, case) for case in cases]


def _entry(check: dict, rules: dict, change: dict, case: dict) -> dict:
    general = [rule for rule in rules.get("checks", []) if rule["says"] in check["what"]]
    entry = {"strength": "strict", **check}
    for part in (*general, change, case):
        entry.update(part)
    when = rules.get("when", {}).get(check.get("when"), {})
    actives = [check.get("active_for"), when, case.get("active"), change.get("active")]
    entry["active"] = {key: values for active in actives if active for key, values in active.items()}
    return {key: entry[key] for key in _CHECK_KEYS if entry.get(key) not in (None, {})}


def text_of(document: dict) -> str:
    """JSON with one line for each instance, check and other member."""
    lines = ["{", f'  "suite": {_line(document["suite"])},', f'  "source": {_line(document["source"])},', '  "tests": [']
    lines.append(",\n".join(_function_text(test) for test in document["tests"]))
    return "\n".join([*lines, "  ]", "}"]) + "\n"


def _function_text(test: dict) -> str:
    members = [f'      "{key}": {_list_text(value) if key in ("checks", "instances") and value else _line(value)}'
               for key, value in test.items()]
    return "    {\n" + ",\n".join(members) + "\n    }"


def _list_text(values: list) -> str:
    if len(values) == 1 and "what" not in values[0]:
        return _line(values)
    return "[\n" + ",\n".join(f"        {_line(value)}" for value in values) + "\n      ]"


def _line(value) -> str:
    return json.dumps(value, ensure_ascii=False)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", type=pathlib.Path, help="the suite's folder")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    target = options.suite / "upstream.json"
    try:
        source, rules = (json.loads((options.suite / name).read_text()) for name in ("source.json", "inventory_rules.json"))
        text = text_of(inventory(source, rules))
        is_current = target.exists() and target.read_text() == text
    except (OSError, ValueError, RulesError) as error:
        print(f"make_inventory: {options.suite}: {error}", file=sys.stderr)
        return 2
    if options.check:
        print(f"{target} is {'what the rules give' if is_current else 'stale: run make_inventory.py without --check'}")
        return 0 if is_current else 1
    target.write_text(text)
    print(f"{target} is written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
