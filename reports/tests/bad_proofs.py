"""Forged proofs: mutants, recordings, and the other files of a bundle."""
import example_bundle as example
from bad_bundles import FIRST, RUN2, Bundle, forged

# The proof that the run could have failed.

@forged("canary.missing", "a drawn mutant that was not run")
def _(bundle):
    pool = bundle.pool_of("canaries", "+mutant=")
    for name in [name for name in bundle.members if name.startswith(pool)]:
        del bundle.members[name]


@forged("canary.alive", "a mutant that lives")
def _(bundle):
    revive(bundle, "canaries")


@forged("oracle.red", "a mutant of the reference that lives")
def _(bundle):
    revive(bundle, "oracle")


@forged("canary.other-check", "a mutant that fails elsewhere")
def _(bundle):
    pool = bundle.pool_of("canaries", "+mutant=")
    for rank in (0, 1):
        bundle.edit_events(rank, lambda events, rank=rank: rename_checks(events), pool)


@forged("canary.base", "an implementation that fails the test of a mutant itself")
def _(bundle):
    pool = next(name.removesuffix("/plan.json") for name in bundle.members
                if name.startswith("canaries/") and name.endswith("plan.json") and "+mutant" not in name)
    bundle.edit_events(1, lambda events: example.fail(events[4], 1, "C1", "no"), pool)


@forged("canary.not-drawn", "a mutant that nobody drew")
def _(bundle):
    drawn = bundle.document["canaries"]["drawn"]
    other = next(row[0] for row in example.CANARIES if row[0] not in drawn)
    pool = example.Member(f"python:mine:Mine+mutant={other},backend=fast", "python:mine:Mine", other, example.OPTIONS, 2,
                          [(FIRST, 1, 0)], example.START + 25)
    example.add_pool(bundle.members, "canaries", 0, pool)


@forged("implementation.differs", "mutants of another implementation")
def _(bundle):
    pool = bundle.pool_of("canaries", "+mutant=")
    bundle.edit_json(f"{pool}/plan.json", lambda plan: plan["implementation"].update(source="reference"))


@forged("canary.not-drawn", "a statement that was changed after the run")
def _(bundle):
    bundle.members["statement.toml"] = bundle.members["statement.toml"].replace(b'"1.2"', b'"1.3"')


@forged("canary.not-drawn", "events that were touched up after the run")
def _(bundle):
    bundle.edit_events(1, lambda events: events[1].update(time=events[1]["time"] + 1e-4))


def revive(bundle: Bundle, part: str) -> None:
    pool = bundle.pool_of(part, "+mutant=")
    for rank in (0, 1):
        bundle.edit_events(rank, lambda events: [heal(event) for event in events], pool)


def heal(event: dict) -> dict:
    if event["event"] == "test_finished":
        event["verdict"], event["failures"] = "pass", []
        for counts in event["checks"].values():
            counts["failed"] = 0
    return event


def rename_checks(events: list[dict]) -> None:
    for event in events:
        if event["event"] == "test_finished":
            event["checks"] = {"C7": counts for counts in event["checks"].values()} if event["failures"] else event["checks"]
            event["failures"] = [failure | {"check": "C7"} for failure in event["failures"]]


# Recordings.

def first_sample(bundle: Bundle) -> str:
    return next(name for name in sorted(bundle.members) if name.startswith("recordings/"))


@forged("recording.missing", "a recording without a digest")
def _(bundle):
    bundle.edit_json("recordings.json", lambda digests: digests.pop(sorted(digests)[0]))


@forged("recording.surplus", "the digest of a recording that no test made")
def _(bundle):
    bundle.edit_json("recordings.json", lambda digests: digests.update({"other/rank-0.jsonl": "00" * 32}))


@forged("recording.missing", "a drawn recording that was left out")
def _(bundle):
    del bundle.members[first_sample(bundle)]


@forged("member.unknown", "a recording that was not drawn")
def _(bundle):
    bundle.members["recordings/other/rank-0.jsonl"] = b"{}\n"


@forged("recording.digest", "a recording that was changed")
def _(bundle):
    bundle.members[first_sample(bundle)] += b"\n"


@forged("recording.operations", "a recording with an operation too few")
def _(bundle):
    replace_sample(bundle, lambda lines: lines[:-1])


@forged("recording.header", "the recording of another seed")
def _(bundle):
    replace_sample(bundle, lambda lines: [lines[0].replace(b'"seed": 1234', b'"seed": 1235'), *lines[1:]])


def replace_sample(bundle: Bundle, change) -> None:
    name = first_sample(bundle)
    bundle.members[name] = b"".join(change(bundle.members[name].splitlines(keepends=True)))
    bundle.edit_json("recordings.json", lambda digests: digests.update(
        {name.removeprefix("recordings/"): example.sha256(bundle.members[name])}))


# Files.

@forged("statement.form", "a statement without a contact")
def _(bundle):
    bundle.members["statement.toml"] = example.STATEMENT.replace(b"[contact]", b"[people]")


@forged("statement.form", "a statement with an empty field")
def _(bundle):
    bundle.members["statement.toml"] = example.STATEMENT.replace(b'"release team"', b'" "')


@forged("statement.form", "a statement that is no TOML")
def _(bundle):
    bundle.members["statement.toml"] = b"[product\n"


@forged("member.unknown", "a file that no bundle has")
def _(bundle):
    bundle.members["run/install.sh"] = b"rm -rf /"


@forged("member.unknown", "a pickle among the recordings")
def _(bundle):
    bundle.members["recordings/x/rank-0.pkl"] = b"cos\nsystem\n(S'false'\ntR."


@forged("member.missing", "no statement")
def _(bundle):
    del bundle.members["statement.toml"]


@forged("member.missing", "no results")
def _(bundle):
    del bundle.members["run/results.json"]


@forged("member.missing", "a pool without a plan")
def _(bundle):
    del bundle.members[f"{RUN2}/plan.json"]


@forged("member.missing", "no run of the oracle")
def _(bundle):
    for name in [name for name in bundle.members if name.startswith("oracle/runs/")]:
        del bundle.members[name]


@forged("member.form", "results that are no JSON")
def _(bundle):
    bundle.members["run/results.json"] = b"{"


@forged("member.form", "results that nest without end")
def _(bundle):
    bundle.members["run/results.json"] = b"[" * 900


@forged("member.form", "a plan whose lists differ in length")
def _(bundle):
    bundle.edit_json(f"{RUN2}/plan.json", lambda plan: plan["recordings"].pop())


@forged("member.form", "a plan for a million ranks")
def _(bundle):
    bundle.edit_json(f"{RUN2}/plan.json", lambda plan: plan.update(world_size=1_000_000))
