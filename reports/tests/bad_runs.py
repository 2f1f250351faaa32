"""Forged runs: tests, events, options and results that are not what they should be."""
import json
from collections.abc import Callable

import example_bundle as example
from bad_bundles import FIRST, RUN1, RUN2, Bundle, forged


@forged("waiver.unlisted", "a waived test whose waiver names another test")
def _(bundle):
    bundle.document["waivers"] = [example.WAIVER | {"test": "alpha/other"}]
    for rank in (0, 1):
        bundle.edit_events(rank, lambda events: [make_pass(event) if event.get("test") == example.WAIVED else event for event in events])


def make_pass(event: dict) -> dict:
    if event["event"] != "test_finished":
        return event
    return event | {"verdict": "pass", "failures": [], "checks": {"C1": {"evaluated": 3, "strict": 1, "failed": 0}}}


def on_finished(test: str, change: Callable[[dict], None], which: int | None = None):
    """Changes the reports of a rank on this test: all, or one of its repetitions (from 0)."""
    def edit(events):
        found = [event for event in events if event["event"] == "test_finished" and event["test"] == test]
        for number, event in enumerate(found):
            if which is None or number == which:
                change(event)
    return edit


@forged("verdict.red", "a failure in one repetition of a rank that says pass")
def _(bundle):
    for which in range(3):
        bundle.edit_events(1, on_finished(FIRST, lambda event: event["checks"]["C1"].update(failed=1), which))


@forged("verdict.flaky", "a test that fails once in three times")
def _(bundle):
    bundle.edit_events(1, on_finished(FIRST, lambda event: example.fail(event, 1, "C1", "no"), 1))


@forged("verdict.red", "a check that a rank did not evaluate")
def _(bundle):
    bundle.edit_events(1, on_finished(FIRST, lambda event: event["checks"].pop("C1")))


@forged("verdict.red", "a check of a listed rank that another rank evaluates")
def _(bundle):
    bundle.edit_events(1, on_finished("alpha/T.test_b/world_size=2", lambda event: event["checks"].pop("C2")))
    bundle.edit_events(0, on_finished("alpha/T.test_b/world_size=2",
                                      lambda event: event["checks"].update(C2={"evaluated": 1, "strict": 0, "failed": 0})))


@forged("verdict.red", "a check of the second phase that was not evaluated")
def _(bundle):
    bundle.edit_events(0, on_finished("alpha/RS1/save=1,load=2", lambda event: event["checks"].clear()))


@forged("member.form", "a phase before the first, which would have no checks")
def _(bundle):
    bundle.edit_json(f"{RUN2}/plan.json", lambda plan: [phase.update(phase=0) for phase in plan["phases"] if phase])


@forged("test.surplus", "a phase after the last")
def _(bundle):
    bundle.edit_json(f"{RUN2}/plan.json", lambda plan: [phase.update(phase=3) for phase in plan["phases"] if phase])


@forged("verdict.red", "a test without its second phase")
def _(bundle):
    drop_test(bundle, "alpha/RS1/save=1,load=2")


@forged("verdict.red", "a test that the implementation does not support")
def _(bundle):
    for rank in (0, 1):
        bundle.edit_events(rank, on_finished(FIRST, lambda event: event.update(verdict="not_supported", checks={})))


@forged("verdict.red", "ranks that disagree")
def _(bundle):
    bundle.edit_events(1, on_finished(FIRST, lambda event: event.update(verdict="not_supported", checks={})))


@forged("verdict.red", "a test that upstream runs, reported as not applicable")
def _(bundle):
    for rank in (0, 1):
        bundle.edit_events(rank, on_finished(FIRST, lambda event: event.update(verdict="not_applicable", checks={})))


@forged("verdict.red", "a waived test that passes")
def _(bundle):
    for rank in (0, 1):
        bundle.edit_events(rank, lambda events: [make_pass(event) if event.get("test") == example.WAIVED else event for event in events])


@forged("device.limited", "a check that is called impossible where it is possible")
def _(bundle):
    bundle.edit_events(0, on_finished(FIRST, lambda event: event["device_limited"].update(C1="no")))


@forged("verdict.differs", "a result that is worse than its events")
def _(bundle):
    bundle.edit_json("run/results.json", lambda results: results["tests"][0].update(verdict="fail"))


@forged("verdict.differs", "advice in place of a pass")
def _(bundle):
    bundle.edit_json("run/results.json", lambda results: results["tests"][4].update(verdict="advice"))


@forged("test.missing", "a test that was not run")
def _(bundle):
    drop_test(bundle, FIRST)


@forged("test.missing", "two repetitions in place of three")
def _(bundle):
    drop_test(bundle, FIRST, 3)


@forged("test.missing", "a test without a result")
def _(bundle):
    bundle.edit_json("run/results.json", lambda results: results["tests"].pop())


@forged("test.surplus", "a result of a test that is not on the list")
def _(bundle):
    bundle.edit_json("run/results.json", lambda results: results["tests"].append({"id": "alpha/new", "verdict": "pass"}))


@forged("test.repeated", "two results of one test")
def _(bundle):
    bundle.edit_json("run/results.json", lambda results: results["tests"].append(results["tests"][0]))


@forged("test.surplus", "a test of the other level")
def _(bundle):
    add_run(bundle, "alpha/T.test_a/world_size=8", 1)


@forged("test.repeated", "a fourth try")
def _(bundle):
    add_run(bundle, FIRST, 4)


@forged("test.repeated", "a repetition that was run twice")
def _(bundle):
    add_run(bundle, FIRST, 1)


def add_run(bundle: Bundle, test: str, repetition: int) -> None:
    pool = example.Member(example.LABEL, "python:mine:Mine", None, example.OPTIONS, 2, [(test, repetition, 0)], example.START + 12)
    example.add_pool(bundle.members, "run", 1, pool)


def drop_test(bundle: Bundle, test: str, repetition: int | None = None) -> None:
    """From the plan and the events, with new indexes, as if it had never been there."""
    plan = json.loads(bundle.members[f"{RUN2}/plan.json"])
    gone = {index for index, (name, recording) in enumerate(zip(plan["tests"], plan["recordings"]))
            if name == test and (repetition is None or recording.endswith(f"repetition={repetition}"))}
    for key in ("tests", "recordings", "phases"):
        plan[key] = [value for index, value in enumerate(plan[key]) if index not in gone]
    bundle.members[f"{RUN2}/plan.json"] = json.dumps(plan).encode()
    for rank in (0, 1):
        bundle.edit_events(rank, lambda events: [
            event | ({"index": event["index"] - sum(g < event["index"] for g in gone)} if "index" in event else {})
            for event in events if event.get("index") not in gone])


@forged("world.differs", "a test on fewer ranks than the list says")
def _(bundle):
    for plan, world in ((f"{RUN1}/plan.json", 2),):
        bundle.edit_json(plan, lambda document: document.update(world_size=world))
    bundle.members[f"{RUN1}/rank-1.events.jsonl"] = bundle.members[f"{RUN1}/rank-0.events.jsonl"].replace(b'"rank": 0', b'"rank": 1')
    for rank in (0, 1):
        bundle.edit_events(rank, lambda events: events[0].update(world_size=2), RUN1)


@forged("world.differs", "a rank without events")
def _(bundle):
    del bundle.members[f"{RUN2}/rank-1.events.jsonl"]


@forged("world.differs", "events of a rank too many")
def _(bundle):
    bundle.members[f"{RUN2}/rank-2.events.jsonl"] = bundle.members[f"{RUN2}/rank-1.events.jsonl"]


@forged("world.differs", "a rank that says another world size")
def _(bundle):
    bundle.edit_events(1, lambda events: events[0].update(world_size=1))


@forged("events.form", "events of another rank")
def _(bundle):
    bundle.members[f"{RUN2}/rank-1.events.jsonl"] = bundle.members[f"{RUN2}/rank-0.events.jsonl"]


@forged("events.form", "a line that is cut off")
def _(bundle):
    bundle.members[f"{RUN2}/rank-1.events.jsonl"] = bundle.members[f"{RUN2}/rank-1.events.jsonl"][:-2]


@forged("events.form", "a file that ends without a line's end")
def _(bundle):
    bundle.members[f"{RUN2}/rank-1.events.jsonl"] = bundle.members[f"{RUN2}/rank-1.events.jsonl"][:-1]


@forged("events.form", "an unknown verdict")
def _(bundle):
    bundle.edit_events(0, on_finished(FIRST, lambda event: event.update(verdict="fine")))


@forged("events.form", "an unknown event")
def _(bundle):
    bundle.edit_events(0, lambda events: events[3].update(event="__class__"))


@forged("events.form", "a check that failed more often than it was evaluated")
def _(bundle):
    bundle.edit_events(0, on_finished(FIRST, lambda event: event["checks"]["C1"].update(failed=9)))


@forged("events.form", "infinite time")
def _(bundle):
    name = f"{RUN2}/rank-0.events.jsonl"
    bundle.members[name] = bundle.members[name].replace(b'"seconds": 0.1', b'"seconds": Infinity', 1)


@forged("events.form", "a key that stands twice")
def _(bundle):
    name = f"{RUN2}/rank-0.events.jsonl"
    bundle.members[name] = bundle.members[name].replace(b'"reason": ""', b'"reason": "", "reason": ""', 1)


@forged("events.order", "two events in the wrong order")
def _(bundle):
    bundle.edit_events(0, lambda events: swap(events, 3, 4))


@forged("events.order", "a test that ends twice")
def _(bundle):
    bundle.edit_events(0, lambda events: events[:5] + [events[4]] + events[5:])


@forged("events.order", "another test than the plan says")
def _(bundle):
    bundle.edit_events(0, lambda events: events[3].update(test="alpha/T.test_b/world_size=2"))


def swap(events: list[dict], a: int, b: int) -> None:
    times = [event["time"] for event in events]
    events[a], events[b] = events[b], events[a]
    for event, time in zip(events, times):
        event["time"] = time


@forged("events.clock", "a clock that runs backwards")
def _(bundle):
    bundle.edit_events(0, lambda events: events[5].update(time=events[4]["time"] - 1))


@forged("events.clock", "events that are older than the run")
def _(bundle):
    for rank in (0, 1):
        bundle.edit_events(rank, lambda events: [event | {"time": event["time"] - 86_400} for event in events])


@forged("events.clock", "mutants that ran before the run from which they are drawn")
def _(bundle):
    pool = bundle.pool_of("canaries", "+mutant=")
    for rank in (0, 1):
        bundle.edit_events(rank, lambda events: [event | {"time": event["time"] - 20} for event in events], pool)


@forged("events.unfinished", "a pool that did not end")
def _(bundle):
    bundle.edit_events(0, lambda events: events[:-1])


@forged("events.unfinished", "a rank that died")
def _(bundle):
    bundle.edit_events(0, lambda events: events[:-1] + [{"event": "rank_crashed", "rank": 0, "time": events[-1]["time"], "signal": 11}] + events[-1:])


@forged("option.forbidden", "a run of chosen tests")
def _(bundle):
    bundle.edit_json("run/results.json", lambda results: results["run"].update(command=results["run"]["command"] + " --filter test_a"))


@forged("option.forbidden", "an option with an equals sign")
def _(bundle):
    bundle.edit_json("run/results.json", lambda results: results["run"].update(command=results["run"]["command"] + " --stop-after-hangs=0"))


OPTION_VALUES = [("seed", 7), ("repeat", 1), ("pool", "fresh"), ("load_with", "reference"), ("require_should", True), ("require", ["core"])]


def _with_option(key, value):
    return lambda bundle: bundle.edit_json("run/results.json", lambda results: results["run"].update({key: value}))


for key_, value_ in OPTION_VALUES:
    forged("option.value", f"another {key_} than every certified run has")(_with_option(key_, value_))
for key_, value_ in (("seed", 7), ("trace", "full"), ("test_timeout_seconds", 3600.0)):
    forged("option.value", f"a pool with another {key_}")(
        lambda bundle, key=key_, value=value_: bundle.edit_json(f"{RUN2}/plan.json", lambda plan: plan.update({key: value})))


@forged("results.incomplete", "a run that was cut short")
def _(bundle):
    bundle.edit_json("run/results.json", lambda results: results.update(complete=False))


@forged("implementation.mutant", "a mutant as the implementation under test")
def _(bundle):
    bundle.edit_json(f"{RUN2}/plan.json", lambda plan: plan["implementation"].update(mutant="mutant_0"))


@forged("implementation.differs", "one pool with another implementation")
def _(bundle):
    bundle.edit_json(f"{RUN2}/plan.json", lambda plan: plan["implementation"].update(source="torch", label="torch"))


@forged("implementation.differs", "one rank with another version")
def _(bundle):
    bundle.edit_events(1, lambda events: events[2]["implementation"].update(version="1.1"))


@forged("patch.unlisted", "one rank with a patch more")
def _(bundle):
    bundle.edit_events(1, lambda events: events[2]["implementation"]["patches"].append({"target": "torch.z", "reason": ""}))


@forged("device.differs", "one pool on another device")
def _(bundle):
    bundle.edit_json(f"{RUN2}/plan.json", lambda plan: plan["implementation"].update(device="cuda"))
