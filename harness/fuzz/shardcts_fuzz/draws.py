"""Choices of a program that are written down, so that another program can repeat some of them."""


class Draws:
    """Draws from a stream (streams.py), or repeats first what another program drew: a list of ints. Whatever stands there
    is a legal choice, so that programs can be changed and joined anywhere."""

    def __init__(self, stream, repeat=()):
        self._stream, self._repeat = stream, list(repeat)
        self.drawn = []

    @property
    def repeats(self):
        return len(self.drawn) < len(self._repeat)

    def _next(self, fresh, fitted):
        value = fitted(self._repeat[len(self.drawn)]) if self.repeats else fresh()
        self.drawn.append(value)
        return value

    def below(self, limit):
        return self._next(lambda: self._stream.below(limit), lambda value: value % limit)

    def chance(self, probability):
        return bool(self._next(lambda: int(self._stream.chance(probability)), lambda value: value % 2))

    def weighted(self, weights):
        names = [name for name, weight in weights.items() if weight > 0]
        return names[self._next(lambda: names.index(self._stream.weighted(weights)), lambda value: value % len(names))]

    def choice(self, items):
        return items[self.below(len(items))]

    def subset(self, items, probability=0.5):
        return [item for item in items if self.chance(probability)]
