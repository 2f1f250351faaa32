"""What has been tried: pairs of values of two dimensions of an action, such as its form and the state of the model."""

from collections import Counter
from itertools import combinations

DIMENSIONS = ("action", "form", "wrapper", "state", "layout", "type", "optimizer", "fault", "broadcast", "dtype")


class Coverage:
    def __init__(self):
        self.pairs = Counter()
        self.values = Counter()

    def add(self, program):
        for action in program.actions:
            tags = [(key, str(value)) for key, value in action.tags if key in DIMENSIONS]
            self.values.update(set(tags))
            for first, second in combinations(sorted(set(tags)), 2):
                if first[0] != second[0]:
                    self.pairs[first, second] += 1

    def table(self):
        """For two dimensions the pairs that occurred and the pairs that their values could form."""
        rows = []
        by_dimension = {}
        for key, value in self.values:
            by_dimension.setdefault(key, []).append(value)
        for first, second in combinations(sorted(by_dimension), 2):
            possible = [((first, a), (second, b)) for a in sorted(by_dimension[first]) for b in sorted(by_dimension[second])]
            tried = [pair for pair in possible if pair in self.pairs]
            never = [f"{a} × {b}" for (_, a), (_, b) in possible if ((first, a), (second, b)) not in self.pairs]
            rows.append({"dimensions": [first, second], "tried": len(tried), "possible": len(possible), "never": never})
        return rows
