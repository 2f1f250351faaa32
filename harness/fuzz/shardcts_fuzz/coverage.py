"""What has been tried: pairs of values of two dimensions of an action, such as its form and the state of the model."""

from collections import Counter
from itertools import combinations

# Those that the generator knows before it makes an action, and steers by.
STEERING = ("action", "after", "form", "wrapper", "state", "layout", "type", "optimizer", "fault", "dtype")
DIMENSIONS = (*STEERING, "broadcast", "partial", "operation", "option")
MOST = 8  # times as likely as usual is what was never tried


class Coverage:
    def __init__(self):
        self.pairs = Counter()
        self.values = Counter()

    def add(self, program):
        """How many pairs it has that no earlier program had."""
        pairs, values = _pairs_of(program)
        new = sum(pair not in self.pairs for pair in set(pairs))
        self.pairs.update(pairs)
        self.values.update(values)
        return new

    def gain(self, program):
        """How many it would have."""
        return sum(pair not in self.pairs for pair in set(_pairs_of(program)[0]))

    def prefer(self, dimension, weights, present):
        """The weights {value: int}, larger where pairs of the value and of what is `present`, tags, are rare."""
        others = [tag for tag in present if tag[0] in STEERING and tag[0] != dimension]
        return {value: weight * self._factor((dimension, str(value)), others) for value, weight in weights.items()}

    def _factor(self, tag, others):
        if not others:
            return 1
        seen = (self.pairs[min(tag, other), max(tag, other)] for other in others)
        return 1 + round(sum((MOST - 1) / (1 + count) for count in seen) / len(others))

    def table(self):
        """For two dimensions the pairs that occurred and the pairs that their values could form."""
        rows = []
        by_dimension = {}
        for key, value in self.values:
            by_dimension.setdefault(key, []).append(value)
        for first, second in combinations(sorted(by_dimension), 2):
            possible = [((first, a), (second, b)) for a in sorted(by_dimension[first]) for b in sorted(by_dimension[second])]
            if {first, second} == {"operation", "option"}:  # an option names its operation
                possible = [pair for pair in possible if pair in self.pairs]
            never = [[a, b] for (_, a), (_, b) in possible if ((first, a), (second, b)) not in self.pairs]
            tried = len(possible) - len(never)
            rows.append({"dimensions": [first, second], "tried": tried, "possible": len(possible), "never": never})
        return rows

    def never_of(self, contract):
        """Operations of the contract that no program used, and arguments and options of those that were used."""
        used = {value for key, value in self.values if key == "operation"}
        given = {value.partition("=")[0] for key, value in self.values if key == "option"}
        operations = [name for name in contract if name not in used]
        options = [f"{name} {option}" for name, names in contract.items() if name in used for option in names
                   if f"{name} {option}" not in given]  # fmt: skip
        return operations, options


def _pairs_of(program):
    """All pairs of its actions, and all values."""
    pairs, values, before = [], [], "nothing"
    for action in program.actions:
        tags = {(key, str(value)) for key, value in action.tags if key in DIMENSIONS}
        tags |= {("after", before)} | _tags_of_steps(action)
        before = action.name
        values += tags
        pairs += [pair for pair in combinations(sorted(tags), 2) if pair[0][0] != pair[1][0]]
    return pairs, values


def _tags_of_steps(action):
    tags = set()
    for step in action.steps:
        tags.add(("operation", step.op))
        for args in (step.args, step.last_rank_args or {}):
            tags |= {("option", f"{step.op} {option}") for option in _options(args)}
    return tags


def _options(args, prefix=""):
    """Names of arguments and of fields of records, with their values where these are flags or words."""
    for name, value in args.items():
        if isinstance(value, dict) and name in ("options", "mp_policy", "offload_policy", "mixed_precision"):
            yield from _options(value, f"{prefix}{name}.")
        elif isinstance(value, bool) or (isinstance(value, str) and name in ("type", "kind", "wrapper", "sharding_strategy")):
            yield f"{prefix}{name}={value}"
        else:
            yield f"{prefix}{name}"
