"""Random choices that depend on nothing but a key: a counter-based generator, one stream for each program."""

import hashlib


class Stream:
    """Draws from BLAKE2b of (key, counter), so that it is the same on any machine and with any Python."""

    def __init__(self, *key):
        self._key = repr(tuple(int(part) if isinstance(part, bool) else part for part in key)).encode()
        self._counter = 0
        self._words = []

    def _word(self):
        if not self._words:
            digest = hashlib.blake2b(self._key + b"/%d" % self._counter).digest()
            self._counter += 1
            self._words = [int.from_bytes(digest[i : i + 8], "little") for i in range(0, 64, 8)]
        return self._words.pop()

    def below(self, limit):
        """An int from 0 to limit - 1."""
        return self._word() % limit

    def chance(self, probability):
        return self._word() < probability * 2**64

    def choice(self, items):
        return items[self.below(len(items))]

    def weighted(self, weights):
        """A key of the dict {key: weight}, with weights that are ints of at least 0, not all 0."""
        rest = self.below(sum(weights.values()))
        for item, weight in weights.items():
            rest -= weight
            if rest < 0:
                return item
        raise AssertionError("unreachable")

    def subset(self, items, probability=0.5):
        return [item for item in items if self.chance(probability)]
