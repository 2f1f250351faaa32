"""The command line of `shardcts fuzz`. Exit codes: docs/fuzzing.md."""

import argparse
import os
import re
import signal
import sys

from shardcts_fuzz import output
from shardcts_fuzz.campaign import Campaign, source_of
from shardcts_fuzz.contract_table import TABLE, read_contract
from shardcts_fuzz.corpus import CorpusError, read_corpus
from shardcts_fuzz.findings import area_of
from shardcts_fuzz.known import KnownError, read_known
from shardcts_fuzz.pools import Pools, RunError
from shardcts_fuzz.shrinker import find_in_pools, shrink

EPILOG = "Exit code: 0 no finding beyond known deviations, 1 findings, 2 wrong input, 3 harness error."
LARGEST_WORLD = 8


class InputError(Exception):
    """One line for people."""


class Interrupted(Exception):
    """By a signal."""


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise InputError(message)


def parser():
    parse = Parser(prog="shardcts fuzz", epilog=EPILOG,
                   description="Makes random programs of operations and judges what implementations do with them.")  # fmt: skip
    parse.add_argument("--shardcts", required=True, help=argparse.SUPPRESS)
    parse.add_argument("--docs", required=True, help=argparse.SUPPRESS)
    parse.add_argument("--impl", required=True, metavar="NAME", help="as of shardcts exec")
    parse.add_argument("--against", metavar="NAME", help="a baseline, compared operation by operation")
    parse.add_argument("--seed", type=int, default=1, metavar="N", help="of all programs (default 1)")
    parse.add_argument("--programs", type=int, metavar="N", help="how many (default 1000, without --seconds)")
    parse.add_argument("--seconds", type=float, metavar="S", help="make programs for so long; shrinking is extra")
    parse.add_argument("--program", type=int, metavar="N", help="this program alone")
    parse.add_argument("--world", default="1,2,3", metavar="N,N", help="numbers of ranks (default 1,2,3)")
    parse.add_argument("--corpus", metavar="DIR", help="programs of a folder first; alone if nothing says how many more")
    parse.add_argument("--until-found", action="store_true", help="end after the first batch of programs that shows something")
    parse.add_argument("--rules", metavar="ID,AREA", help="judge by these rules alone (GE, AL1, storage/RS); no baseline")
    parse.add_argument("--deviations", metavar="FILE", help="known deviations (default: those of docs/fuzz_deviations.toml)")
    parse.add_argument("--no-deviations", action="store_true", help="nothing is known: every deviation is a finding")
    parse.add_argument("--shrink-seconds", type=float, default=60.0, metavar="S", help="for all groups (default 60; 0: none)")
    parse.add_argument("--timeout", type=float, default=20.0, metavar="S", help="that one program may take (default 20)")
    parse.add_argument("--jobs", type=int, default=2, metavar="N", help="rank pools at the same time (default 2)")
    parse.add_argument("--continue", dest="go_on", action="store_true", help="go on where the run in --out ended")
    parse.add_argument("--out", required=True, metavar="DIR", help="findings/NNNN.json and fuzz.json")
    return parse


def main(arguments):
    for wanted in (signal.SIGINT, signal.SIGTERM):
        signal.signal(wanted, _interrupt)
    try:
        return run(parser().parse_args(arguments), arguments)
    except Interrupted as error:
        return _fail(f"interrupted by {error}; what the programs before showed is written", 3)
    except (InputError, KnownError, CorpusError) as error:
        return _fail(error, 2)
    except RunError as error:
        return _fail(error, error.code)


def _interrupt(number, _):
    for wanted in (signal.SIGINT, signal.SIGTERM):
        signal.signal(wanted, signal.SIG_IGN)  # one is enough
    raise Interrupted(signal.Signals(number).name)


def _fail(error, code):
    print("shardcts: " + " ".join(str(error).split()), file=sys.stderr)
    return code


def run(options, arguments):
    implementations = [options.impl] + ([options.against] if options.against else [])
    worlds, rules = _worlds(options.world), _rules(options)
    _check(options, implementations)
    known = _known(options, implementations)
    corpus = read_corpus(options.corpus) if options.corpus else []
    out = os.path.abspath(options.out)
    first = _first(options, out)
    os.makedirs(out, exist_ok=True)
    pools = Pools(options.shardcts, os.path.join(out, "work"), options.timeout, options.jobs)
    contract = read_contract(TABLE)
    campaign = Campaign(pools, implementations, options.seed, worlds, known, contract, rules, corpus, options.until_found, _say)
    count = 1 if options.program is not None else options.programs
    if count is None and options.seconds is None:
        count = 0 if corpus else 1000
    earlier = output.read(out) if options.go_on else None
    try:
        campaign.go(first, count, options.seconds)
    except Interrupted:
        output.write(out, campaign, campaign.next_program, arguments, earlier)
        raise
    entries = output.write(out, campaign, campaign.next_program, arguments, earlier)
    if campaign.groups and options.shrink_seconds > 0:
        shrink(list(campaign.groups.values()), lambda wanted: find_in_pools(wanted, campaign), options.shrink_seconds, _say)
        entries = output.write(out, campaign, campaign.next_program, arguments, earlier)
    for line in output.report(entries, campaign):
        print(line)
    print(f"written: {os.path.join(options.out, 'fuzz.json')}")
    return 1 if entries else 0


def _say(text):
    print(text, flush=True)


def _worlds(text):
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", text) or max(map(int, text.split(","))) > LARGEST_WORLD:
        raise InputError(f"--world {text}: numbers of ranks from 1 to {LARGEST_WORLD}, with commas between them")
    return [int(part) for part in text.split(",")]


def _rules(options):
    if options.rules is None:
        return None
    if options.against:
        raise InputError("--rules: judges without a baseline; leave --against out")
    known = _ids(options.docs, "rules.md") | {f"storage/{one}" for one in _ids(options.docs, "storage_rules.md")}
    rules = set(options.rules.split(","))
    for rule in sorted(rules - known - {area_of(one) for one in known}):
        raise InputError(f"--rules: no rule and no area is named \"{rule}\"; see docs/rules.md, and docs/storage_rules.md for storage/RT")
    return rules


def _ids(folder, name):
    with open(os.path.join(folder, name), encoding="utf-8") as file:
        return set(re.findall(r"^\| ([A-Z]{2}\d+) \|", file.read(), re.MULTILINE))


def _check(options, implementations):
    if len(set(implementations)) < len(implementations):
        raise InputError("--against: is --impl itself")
    for name in ("programs", "seconds", "timeout", "jobs"):
        value = getattr(options, name)
        if value is not None and value <= 0:
            raise InputError(f"--{name} {value}: must be more than 0")
    for name in ("seed", "program", "shrink_seconds"):
        value = getattr(options, name)
        if value is not None and value < 0:
            raise InputError(f"--{name.replace('_', '-')} {value}: must be 0 or more")
    if options.program is not None and (options.programs is not None or options.seconds is not None or options.go_on):
        raise InputError("--program: is one program, without --programs, --seconds and --continue")
    if options.corpus and options.go_on:
        raise InputError("--continue: goes on with random programs, without --corpus")


def _known(options, implementations):
    if options.no_deviations:
        return None
    path = options.deviations or os.path.join(options.docs, "fuzz_deviations.toml")
    return read_known(path).of([source_of(name) for name in implementations])


def _first(options, out):
    """The number of the first program."""
    if options.program is not None:
        return options.program
    summary = os.path.join(out, "fuzz.json")
    if not options.go_on:
        if os.path.exists(out) and os.listdir(out):
            raise InputError(f"{options.out}: is not empty; --continue goes on with the run in it")
        return 0
    try:
        earlier = output.read(out)
        if earlier["seed"] != options.seed or earlier["implementations"][0] != options.impl:
            raise InputError(f"--continue: {options.out} holds a run of another seed or implementation")
        return earlier["next_program"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"--continue: {summary}: {error}") from None
