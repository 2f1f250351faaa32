"""python -m shardcts_reports.freeze VERSION --shardcts PROGRAM --kills mutants.json: the lists of a new version of conformance/.

A list has what a verifier needs to judge a test without the suite: its ranks, the checks that must be evaluated and on
which of them, its level, and mutants that it kills. `--check` compares the newest version with this build.
"""
import argparse
import hashlib
import json
import re
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path

from .boundary import run_as_command
from .load import InputError, load_json

CONFORMANCE = Path(__file__).resolve().parents[2] / "conformance"
CANARY_WORLD = 2  # canaries are killed by tests of so few ranks that every level has them


def inventory_of(shardcts: Path) -> list[dict]:
    """Every test of the build."""
    done = subprocess.run([shardcts, "list", "--json"], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise InputError(f"{shardcts} list: {done.stderr.strip()}")
    return json.loads(done.stdout)


def is_in(test: dict, profile: dict, largest: int) -> bool:
    rule = test["rule"] or {}
    of_rules = "rules" not in profile or rule.get("profile") == profile["rules"]
    return (test["suite"] in profile["suites"] and of_rules and test["world_size"] <= largest
            and not set(test["capabilities"]) & set(profile.get("without", [])))


def group_of(test: dict) -> dict:
    """What tests of one function have in common."""
    checks = [[check["id"], check["ranks"], *([check["phase"]] if "phase" in check else [])]
              for check in test["checks"] if check["required"]]
    return {"function": test["function"], "level": test["rule"]["level"] if test["rule"] else None,
            "capabilities": test["capabilities"], "checks": checks}


def rows_of(tests: list[dict]) -> tuple[list[dict], list[list]]:
    """The groups, and for each test its id, its ranks (a list: of its phases), its group and whether upstream skips it."""
    groups, rows, places = [], [], {}
    for test in tests:
        group = group_of(test)
        key = json.dumps(group, sort_keys=True)
        if key not in places:
            places[key] = len(groups)
            groups.append(group)
        ranks = [phase["world_size"] for phase in test["phases"]] or test["world_size"]
        rows.append([test["id"], ranks, places[key], *([1] if test["not_applicable"] else [])])
    return groups, rows


def canaries_of(tests: list[dict], kills: dict) -> list[list]:
    """For each mutant that one of these tests kills: its name, the test with the fewest ranks, and the checks that killed it."""
    by_id = {test["id"]: test for test in tests if test["world_size"] <= CANARY_WORLD and not test["phases"]}
    rows = []
    for mutant in kills["mutants"]:
        wanted = {check.partition(" ")[2] for check in mutant["expected_checks"]}
        found = {}
        for kill in mutant["killed_by"]:
            if kill["test"] in by_id and kill["check"] and kill["check"] in wanted:
                found.setdefault(kill["test"], set()).add(kill["check"])
        if found and mutant["verdict"] == "killed":
            test = min(found, key=lambda name: (by_id[name]["world_size"], len(name), name))
            rows.append([mutant["name"], test, sorted(found[test])])
    return rows


def list_of(profile: dict, levels: dict, version: str, inventory: list[dict], kills: dict) -> dict:
    tests = [test for test in inventory if is_in(test, profile, levels["full"])]
    if not tests:
        raise InputError(f"profile {profile['name']}: no test")
    groups, rows = rows_of(tests)
    return {"conformance": version, "profile": profile["name"], "title": profile["title"], "levels": levels,
            "capabilities": list(dict.fromkeys(name for test in tests for name in test["capabilities"])),
            "rules": sorted({test["rule"]["id"] for test in tests if test["rule"]}),
            "limited_on_cpu": profile["limited_on_cpu"],
            "inventory": hashlib.sha256(json.dumps([groups, rows], sort_keys=True).encode()).hexdigest(),
            "groups": groups, "canaries": canaries_of(tests, kills), "tests": rows}


def text_of(frozen: dict) -> str:
    """One line for each entry, so that versions can be compared."""
    parts = []
    for key, value in frozen.items():
        if key in ("groups", "canaries", "tests"):
            lines = ",\n".join("  " + json.dumps(entry) for entry in value)
            parts.append(f' "{key}": [\n{lines}\n ]')
        else:
            parts.append(f' "{key}": {json.dumps(value)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def summary_of(profile: dict, levels: dict, frozen: dict, digest: str) -> str:
    count = {name: sum(max(row[1]) <= world if isinstance(row[1], list) else row[1] <= world for row in frozen["tests"])
             for name, world in levels.items()}
    return "\n".join([
        f'name = "{profile["name"]}"', f'title = "{profile["title"]}"', f'conformance = "{frozen["conformance"]}"',
        f'list = "{profile["name"]}.json"', f'sha256 = "{digest}"', f'inventory = "{frozen["inventory"]}"',
        f"suites = {json.dumps(profile['suites'])}", f"requires = {json.dumps(frozen['capabilities'])}",
        "", "[levels]  # largest world size, tests",
        *(f"{name} = {{ world = {levels[name]}, tests = {count[name]} }}" for name in levels),
        "", "[devices]  # checks that may be device-limited there", f"cpu = {json.dumps(profile['limited_on_cpu'])}",
        "accelerator = []"]) + "\n"


def write_version(version: str, conformance: Path, inventory: list[dict], kills: dict) -> list[Path]:
    """Makes a new folder. InputError when it exists."""
    folder = conformance / version
    if not re.fullmatch(r"[1-9][0-9]*\.[0-9]+", version):
        raise InputError(f"{version}: a version is two numbers, as in 1.1")
    if folder.exists():
        raise InputError(f"{folder}: exists; a list never changes, make a new version")
    made = tomllib.loads((conformance / "profiles.toml").read_text(encoding="utf-8"))
    texts, entry = {}, [f'\n[[version]]\nname = "{version}"\nmade = {date.today().isoformat()}\n\n[version.lists]']
    for profile in made["profile"]:
        frozen = list_of(profile, made["levels"], version, inventory, kills)
        text = text_of(frozen)
        digest = hashlib.sha256(text.encode()).hexdigest()
        texts[f"{profile['name']}.json"] = text
        texts[f"{profile['name']}.toml"] = summary_of(profile, made["levels"], frozen, digest)
        entry.append(f'{profile["name"]} = "{digest}"')
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    with open(conformance / "versions.toml", "a", encoding="utf-8") as file:
        file.write("\n".join(entry) + "\n")
    return [folder / name for name in texts]


def differences(folder: Path, inventory: list[dict]) -> list[str]:
    """What of a version's lists this build no longer has as it was frozen; tests that came later are none."""
    by_id = {test["id"]: test for test in inventory}
    lines = []
    for file in sorted(folder.glob("*.json")):
        frozen = load_json(file)
        tests = [by_id[row[0]] for row in frozen["tests"] if row[0] in by_id]
        lines += [f"{file.name}: {row[0]}: this build has no such test" for row in frozen["tests"] if row[0] not in by_id]
        groups, rows = rows_of(tests)
        now = {row[0]: [row[1], groups[row[2]], *row[3:]] for row in rows}
        then = {row[0]: [row[1], frozen["groups"][row[2]], *row[3:]] for row in frozen["tests"]}
        lines += [f"{file.name}: {name}: frozen {then[name]}, in this build {now[name]}" for name in now if now[name] != then[name]]
    return lines


def newest(conformance: Path) -> Path:
    folders = [path for path in conformance.iterdir() if re.fullmatch(r"[0-9]+\.[0-9]+", path.name)]
    if not folders:
        raise InputError(f"{conformance}: holds no version")
    return max(folders, key=lambda path: [int(number) for number in path.name.split(".")])


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="shardcts_reports.freeze", description="Freezes the lists of a new version.")
    parser.add_argument("version", nargs="?", help="of the new folder, as in 1.1")
    parser.add_argument("--shardcts", type=Path, required=True, help="the program whose inventory is frozen")
    parser.add_argument("--kills", type=Path, help="the kill table of this inventory (mutants.json)")
    parser.add_argument("--conformance", type=Path, default=CONFORMANCE)
    parser.add_argument("--check", action="store_true", help="whether this build has the newest version as it was frozen")
    options = parser.parse_args(arguments)
    inventory = inventory_of(options.shardcts)
    if options.check:
        lines = differences(newest(options.conformance), inventory)
        print("\n".join(lines) or f"{newest(options.conformance).name}: as it was frozen")
        return 1 if lines else 0
    if not options.version or not options.kills:
        raise InputError("VERSION and --kills are needed")
    for path in write_version(options.version, options.conformance, inventory, load_json(options.kills)):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(run_as_command(main))
