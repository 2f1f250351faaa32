"""Judges a program by its recordings: the rules that its actions name, and a baseline operation by operation."""

from shardcts_fuzz.findings import Finding, area_of, error_class
from shardcts_fuzz.layouts import NotWhole, assembled, wrong_dtensor, wrong_sharded
from shardcts_fuzz.recordings import SKIPPED
from shardcts_fuzz.programs import given_by, used_by
from shardcts_fuzz.values import Comparison, key_list, not_given, not_rounded

CUTS = {"GE1", "GE2"}
PURE = {"get", "read", "summon", "compare with twin", "save", "keep", "serialize"}  # what differs there says nothing of what follows
NOT_COMPARED = {"optimizer.create", "model.build", "mesh.init", "fsdp.set_state_dict_type", "fsdp.summon_full_params",
                "fsdp.get_state_dict_type", "state.serialize"}  # fmt: skip


class Judge:
    """Of one program. `recordings`: by source, the implementation under test first, then the baseline if there is one."""

    def __init__(self, program, recordings, known, rules=None):
        self._program, self._recordings, self._known = program, recordings, known
        self._rules = rules
        self.findings, self.expected = [], []
        self._tainted = set()
        self.refused_by_all = []

    def judge(self):
        for action in self._program.actions:
            used = set().union(*(used_by(step) for step in action.steps))
            if used & self._tainted:
                if action.name not in PURE:
                    break
                self._taint(action)
                continue
            if self._refused_by_all(action):
                break
            found = self._of_rules(action) or self._of_baseline(action)
            if not found:
                continue
            for finding in found:
                explained = self._known.explain(finding) if self._known else None
                (self.expected if explained else self.findings).append((finding, explained))
            if action.name not in PURE:
                break
            self._taint(action)
        return [finding for finding, _ in self.findings]

    def legal(self):
        """Whether every step succeeded that was not meant to fail, on the implementation under test."""
        meant = {let for action in self._program.actions for r in action.relations if r.kind == "refused" for let in r.steps}
        recording = next(iter(self._recordings.values()))
        return all("value" in (outcome or {}) for step in self._program.steps() if step.let not in meant
                   for outcome in recording.outcomes(step.let))  # fmt: skip

    def _taint(self, action):
        self._tainted |= set().union(*(given_by(step) for step in action.steps))

    # Rules, on each implementation alone.

    def _of_rules(self, action):
        found = []
        for source, recording in self._recordings.items():
            finding = self._failed_step(action, source, recording) or self._broken_relation(action, source, recording)
            if finding and (self._rules is None or finding.rule in self._rules or area_of(finding.rule) in self._rules):
                found.append(finding)
        return found

    def _failed_step(self, action, source, recording):
        meant = {let for relation in action.relations if relation.kind == "refused" for let in relation.steps}
        for step in action.steps:
            if step.let in meant:
                continue
            for rank, outcome in enumerate(recording.outcomes(step.let)):
                if outcome and "error" in outcome:
                    text = f"rank {rank}: {outcome['error']['kind']}: {outcome['error'].get('message', '')[:300]}"
                    return self._finding("rule", source, action.rule, action, step, error_class(outcome), text)
        return None

    def _refused_by_all(self, action):
        """Where all implementations agree on an error, the generator took for legal what is not."""
        if len(self._recordings) < 2:
            return False
        found = [self._failed_step(action, source, recording) for source, recording in self._recordings.items()]
        if not all(found) or len({(one.let, one.difference.split(":")[0]) for one in found}) > 1:
            return False
        self.refused_by_all.append(f"{found[0].op}: {found[0].difference}; wrapper {found[0].wrapper}, {dict(found[0].tags).get('state')}")
        return True

    def _broken_relation(self, action, source, recording):
        ops = {step.let: step for step in self._program.steps()}
        for relation in action.relations:
            step = ops[relation.steps[0]]
            wrong = getattr(self, "_" + relation.kind)(relation, recording)
            if wrong:
                rule, *told = wrong if len(wrong) == 3 else (relation.rule, *wrong)
                return self._finding("rule", source, rule, action, step, *told)
        return None

    @staticmethod
    def _is_left_out(relation, rank):
        """Only the first rank of each group has what the relation is about."""
        return relation.first_rank_only and (rank % int(relation.detail) if relation.detail else rank) > 0

    def _alike(self, relation, recording):
        """Names, shapes and dtypes, not values."""
        return self._equal(relation, recording, values=False)

    def _equal(self, relation, recording, values=True):
        comparison = Comparison(recording, recording, relation.exact, values=values)
        for rank, pair in enumerate(recording.pairs(*relation.steps)):
            if self._is_left_out(relation, rank):
                continue
            if any("value" not in (outcome or {}) for outcome in pair):
                return None
            found = comparison.compare(pair[1]["value"], pair[0]["value"])
            if found:
                names = " and ".join(reversed(relation.steps))
                return found.kind, f"rank {rank}: {names} differ at {found.path or 'the root'}: {found.text}"
        return None

    def _same_keys(self, relation, recording):
        for rank, pair in enumerate(recording.pairs(*relation.steps)):
            if any("value" not in (outcome or {}) for outcome in pair):
                return None
            actual, expected = (key_list(recording.expand(outcome["value"])) for outcome in pair)
            if actual != expected:
                kind = "key order" if sorted(actual) == sorted(expected) else "keys"
                return kind, f"rank {rank}: keys {actual}, the twin's are {expected}"
        return None

    def _same_state(self, relation, recording):
        """Optimizer state by names is that of the twin's own optimizer, whose groups have the same parameters."""
        comparison = Comparison(recording, recording, relation.exact)
        for rank, pair in enumerate(recording.pairs(*relation.steps)):
            if self._is_left_out(relation, rank):
                continue
            if any("value" not in (outcome or {}) for outcome in pair):
                return None
            dicts = [recording.expand(outcome["value"]) for outcome in pair]
            names = relation.names or _keys(dicts[0])  # of a script without: those of the groups, in their order
            actual, expected = _states(dicts[0]), _states(dicts[1], names)
            found = comparison.compare(expected, actual)
            if found:
                return found.kind, f"rank {rank}: state at {found.path}: the twin's and this: {found.text}"
            actual, expected = _options(dicts[0]), _options(dicts[1], names)
            found = comparison.compare(expected, actual)
            if found:
                return "GR1", f"option {found.kind}", f"rank {rank}: options at {found.path}: the twin's and this: {found.text}"
        return None

    def _layout(self, relation, recording):
        """Each entry is cut as its whole tensor, the twin's, must be; where ranks cut is PyTorch's own (docs/contract.md)."""
        for rank, pair in enumerate(recording.pairs(*relation.steps)):
            if any("value" not in (outcome or {}) for outcome in pair):
                return None
            actual, expected = (recording.expand(outcome["value"]) for outcome in pair)
            for name, value in actual.items():
                whole = expected.get(name)
                if not isinstance(value, dict) or not isinstance(whole, dict) or "$tensor" not in whole:
                    continue
                shape = whole["$tensor"]["shape"]
                wrong = wrong_dtensor(value["$dtensor"], shape, rank) if "$dtensor" in value else None
                wrong = wrong_sharded(value["$sharded_tensor"], shape, rank) if "$sharded_tensor" in value else wrong
                if wrong and (wrong[0] not in CUTS or recording.is_cut_as_pytorch):
                    return wrong[0], "layout", f"rank {rank}: {name}: {wrong[1]}"
        return None

    def _assembled(self, relation, recording):
        """The parts of all ranks, put together here, are the second result."""
        outcomes = [recording.outcomes(let) for let in relation.steps]
        if not recording.is_cut_as_pytorch or any("value" not in (outcome or {}) for of_step in outcomes for outcome in of_step):
            return None
        actual, expected = ([recording.expand(outcome["value"]) for outcome in of_step] for of_step in outcomes)
        comparison = Comparison(recording, recording, relation.exact)
        for name in expected[0]:
            if any(name not in one for one in actual):
                return "keys", f"{name} is missing on a rank"
            try:
                wholes = assembled([one[name] for one in actual], recording)
            except NotWhole as wrong:
                return "bits", f"{name}: {wrong}"
            for rank, whole in enumerate(wholes):
                if whole is None and actual[rank][name] is not None:
                    continue
                found = comparison.compare(expected[rank][name], whole, f".{name}")
                if found:
                    return found.kind, f"rank {rank}: the whole tensors differ at {found.path}: {found.text}"
        return None

    def _rounded(self, relation, recording):
        """Every element is a number of the dtype that is named, whatever dtype holds it."""
        for rank, outcome in enumerate(recording.outcomes(relation.steps[0])):
            if "value" not in (outcome or {}):
                return None
            for name, value in recording.expand(outcome["value"]).items():
                wrong = not_rounded(recording, value, relation.detail)
                if wrong is not None:
                    return "not rounded", f"rank {rank}: {name}: {wrong} is no {relation.detail}"
        return None

    def _trained(self, relation, recording):
        """The same parameters require gradients."""
        for rank, pair in enumerate(recording.pairs(*relation.steps)):
            if any("value" not in (outcome or {}) for outcome in pair):
                return None
            actual, expected = (_trained(recording.expand(outcome["value"])) for outcome in pair)
            if actual != expected:
                return "requires_grad", f"rank {rank}: {sorted(actual)} require gradients, of the twin {sorted(expected)}"
        return None

    def _dtype(self, relation, recording):
        for rank, outcome in enumerate(recording.outcomes(relation.steps[0])):
            if "value" not in (outcome or {}):
                return None
            actual = recording.expand(outcome["value"])["$tensor"]["dtype"]
            if actual != relation.detail:
                return "dtype", f"rank {rank}: {actual}, not {relation.detail}"
        return None

    def _given(self, relation, recording):
        """The result has the values that the second step, a load, was given in the script itself."""
        given = next(step for step in self._program.steps() if step.let == relation.steps[1]).args["state_dict"]
        for rank, outcome in enumerate(recording.outcomes(relation.steps[0])):
            if "value" not in (outcome or {}):
                return None
            actual = recording.expand(outcome["value"])
            for name, value in given.items():
                wrong = not_given(recording, actual, name, value)
                if wrong:
                    return "not as given", f"rank {rank}: {name}: {wrong}"
        return None

    def _refused(self, relation, recording):
        outcomes = recording.outcomes(relation.steps[0])
        for rank, outcome in enumerate(outcomes):
            if outcome and "value" in outcome:
                return "no error", f"rank {rank}: no error, but {self._kinds(outcomes)}"
        return None

    @staticmethod
    def _kinds(outcomes):
        return [outcome["error"]["kind"] if outcome and "error" in outcome else "a value" for outcome in outcomes]

    # The baseline.

    def _of_baseline(self, action):
        if len(self._recordings) < 2 or self._rules is not None:
            return []
        (source, actual), (_, expected) = self._recordings.items()
        for step in action.steps:
            wrong = self._differs(step, expected, actual, dict(action.tags).get("wrapper", ""))
            if wrong:
                return [self._finding("baseline", source, "", action, step, *wrong)]
        return []

    def _differs(self, step, expected, actual, wrapper):
        # Sums that are rounded to a dtype of few digits depend on the order of the ranks.
        is_rounded = step.op == "model.gradients" and "precision" in wrapper
        comparison = Comparison(expected, actual, exact=False, values=not is_rounded, flags=True)
        for rank, (a, b) in enumerate(zip(expected.outcomes(step.let), actual.outcomes(step.let))):
            if a is None or b is None or a == SKIPPED or b == SKIPPED:
                return None
            if "error" in a or "error" in b:
                if "error" in a and "error" in b and a["error"]["kind"] == b["error"]["kind"]:
                    continue
                kinds = [error_class(outcome) if "error" in outcome else "a value" for outcome in (a, b)]
                return f"{kinds[1]} for {kinds[0]}", f"rank {rank}: {kinds[1]}, the baseline: {kinds[0]}"
            if step.op in NOT_COMPARED:
                continue
            found = comparison.compare(a["value"], b["value"])
            if found:
                return found.kind, f"rank {rank}: at {found.path or 'the root'}, the baseline and this: {found.text}"
        return None

    def _finding(self, oracle, suspect, rule, action, step, difference, text):
        tags = dict(action.tags)
        return Finding(oracle, suspect, rule, action.name, step.op, difference, text, step.let, action.tags,
                       tags.get("wrapper", ""))  # fmt: skip


def _keys(state_dict):
    return [key for group in state_dict["param_groups"] for key in group["params"]]


def _states(state_dict, names=()):
    """{parameter: its state by name, in alphabetical order}. `names`: of the parameters by id."""
    state = state_dict["state"]
    by_key = dict((key, item) for key, item in state["$dict"]) if "$dict" in state else state
    keys = {_name(key, names): key for key in _keys(state_dict)}
    return {name: dict(sorted(by_key[key].items())) for name, key in sorted(keys.items()) if key in by_key}


def _options(state_dict, names=()):
    """{parameter: the options of its group}."""
    groups = {_name(key, names): group for group in state_dict["param_groups"] for key in group["params"]}
    return {name: {option: value for option, value in sorted(group.items()) if option != "params"}
            for name, group in sorted(groups.items())}  # fmt: skip


def _name(key, names):
    return names[key] if names and isinstance(key, int) else key


def _trained(parameters):
    tensors = {name: value.get("$dtensor", value.get("$tensor", {})) for name, value in parameters.items()}
    return {name for name, tensor in tensors.items() if tensor.get("requires_grad")}


def ended(program, verdict, reason, suspect, last_op):
    """Crash, hang, divergence: a finding of the harness's own verdict."""
    wrapper = dict(program.actions[-1].tags).get("wrapper", "")
    tags = tuple(tag for action in program.actions for tag in action.tags)
    return Finding("ends", suspect, "", "", last_op, verdict, reason, "", tags, wrapper)
