"""What a campaign leaves: findings as scripts, fuzz.json, and the list on the terminal."""

import json
import os

from shardcts_fuzz import GENERATOR_VERSION
from shardcts_fuzz.campaign import describe
from shardcts_fuzz.corpus import record
from shardcts_fuzz.coverage_page import page


def read(folder):
    """The fuzz.json of a folder."""
    with open(os.path.join(folder, "fuzz.json"), encoding="utf-8") as file:
        return json.load(file)


def write(folder, campaign, next_program, argv, earlier=None):
    """`earlier`: the fuzz.json of the run that is continued, whose findings stay; those of its groups are counted there."""
    os.makedirs(os.path.join(folder, "findings"), exist_ok=True)
    entries = [dict(entry) for entry in earlier["findings"]] if earlier else []
    known = {_key(entry): entry for entry in entries}
    for group in sorted(campaign.groups.values(), key=lambda group: -group.count):
        file = f"findings/{len(entries) + 1:04d}.json"
        entry = _entry(group, file)
        if _key(entry) in known:
            known[_key(entry)]["found"] += group.count
            continue
        _write_json(os.path.join(folder, file), _script(group))
        entries.append(entry)
    summary = _summary(campaign, entries, next_program, argv)
    for name in ("programs", "operations", "legal", "not_supported", "seconds") if earlier else ():
        summary[name] += earlier[name]
    _write_json(os.path.join(folder, "fuzz.json"), summary)
    _write(os.path.join(folder, "coverage.md"), "\n".join(page(campaign.coverage, campaign.contract)))
    return entries


def _key(entry):
    family = entry["wrapper"].split(",")[0].split("+")[0]
    return entry["oracle"], entry["suspect"], entry["rule"], entry["operation"], entry["difference"], family


def _script(group):
    """An ordinary script; `fuzz` in it says what it shows, which readers of scripts leave alone."""
    script = group.program.script()
    finding = group.finding
    script["fuzz"].update(shows=describe(finding), step=finding.let, text=finding.text, runs=group.stable, **record(group.program))
    return script


def _entry(group, file):
    finding = group.finding
    return {
        "file": file, "oracle": finding.oracle, "suspect": finding.suspect, "rule": finding.rule or None,
        "operation": finding.op, "wrapper": finding.wrapper, "difference": finding.difference, "text": finding.text,
        "step": finding.let, "found": group.count, "program": group.program.number, "corpus": os.path.basename(group.program.file) or None, "steps": len(group.program.steps()),
        "ranks": group.program.world, "later_ranks": list(group.program.later), "shrunk": group.shrunk, "stable": group.stable,
    }  # fmt: skip


def _summary(campaign, entries, next_program, argv):
    counts = campaign.counts
    known = {one.name: campaign.known.seen.get(one.name, 0) for one in campaign.known.deviations} if campaign.known else {}
    return {
        "schema_version": 1, "command": argv, "seed": campaign.seed, "generator": GENERATOR_VERSION,
        "implementations": campaign.implementations, "worlds": campaign.worlds, "next_program": next_program,
        "programs": counts.programs, "operations": counts.operations, "legal": counts.legal,
        "not_supported": counts.not_supported, "seconds": round(counts.seconds, 3), "findings": entries,
        "known_deviations": known, "refused_by_all": dict(counts.refused_by_all.most_common()),
        "coverage": campaign.coverage.table(), "never_tried": dict(zip(("operations", "options"),
                                                                       campaign.coverage.never_of(campaign.contract))),
    }  # fmt: skip


def _write_json(path, value):
    _write(path, json.dumps(value, indent=1))


def _write(path, text):
    with open(path + ".tmp", "w", encoding="utf-8") as file:
        file.write(text + "\n")
    os.replace(path + ".tmp", path)


def report(entries, campaign):
    """Lines for people."""
    counts = campaign.counts
    share = counts.legal / max(counts.programs - counts.not_supported, 1)
    yield (f"{counts.programs} programs of {counts.operations / max(counts.programs, 1):.0f} operations, "
           f"{counts.programs / max(counts.seconds, 0.001):.1f}/s, {share:.0%} legal")  # fmt: skip
    if counts.not_supported:
        yield f"{counts.not_supported} not supported"
    for text, count in counts.refused_by_all.most_common(10):
        yield f"refused by all ({count}): {text}"
    for entry in entries:
        rule = entry["rule"] or entry["oracle"]
        yield f"{entry['found']:5} × {entry['suspect']}: {rule}: {entry['operation']} under {entry['wrapper']}: {entry['difference']}"
        yield f"        {entry['file']} ({entry['steps']} steps, {entry['ranks']} ranks, {entry['stable']}): {entry['text'][:160]}"
    if campaign.known:
        for one in campaign.known.deviations:
            seen = campaign.known.seen.get(one.name, 0)
            yield f"{seen:5} × known: {one.name}" + ("" if seen else " (did not occur)")
    table = campaign.coverage.table()
    operations, options = campaign.coverage.never_of(campaign.contract)
    yield (f"coverage: {sum(row['tried'] for row in table)} of {sum(row['possible'] for row in table)} pairs; never tried: "
           f"{len(operations)} of {len(campaign.contract)} operations, {len(options)} options (coverage.md)")  # fmt: skip
