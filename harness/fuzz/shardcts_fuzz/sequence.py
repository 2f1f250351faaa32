"""The programs of a seed: each is steered by what those before it have tried, and some are made of parts of them."""

from dataclasses import dataclass

from shardcts_fuzz import GENERATOR_VERSION
from shardcts_fuzz.coverage import Coverage
from shardcts_fuzz.generator import Generator
from shardcts_fuzz.streams import Stream

BLOCK = 1000  # programs that know of each other: any one can be made again without those of other blocks
WAYS = {"new": 7, "mutated": 2, "spliced": 1}


@dataclass(frozen=True)
class Parent:
    """A program that tried something new: what it drew, and where in that its actions begin."""

    new_pairs: int
    features: tuple
    draws: tuple
    marks: tuple


class Programs:
    """`corpus`: programs from which others descend, as from those of the seed."""

    def __init__(self, seed, worlds, known=None, corpus=()):
        self.seed, self.worlds, self.known = seed, list(worlds), known
        self._corpus = list(corpus)
        self._start(0)

    def _start(self, block):
        self._block, self._next = block, block * BLOCK
        self._covered, self._parents = Coverage(), []
        for program in self._corpus:
            self._join(program)

    def make(self, number):
        if number // BLOCK != self._block or number < self._next:
            self._start(number // BLOCK)
        while self._next < number:
            self._make()
        return self._make()

    def _make(self):
        number = self._next
        self._next += 1
        stream = Stream(GENERATOR_VERSION, self.seed, "parents", number)
        way = stream.weighted(WAYS) if self._parents else "new"
        features, draws = getattr(self, "_" + way)(stream)
        generator = Generator(self.seed, number, self.worlds, self.known, features, self._covered, draws)
        program = generator.make()
        self._join(program)
        return program

    def _join(self, program):
        new, notes = self._covered.add(program), program.notes
        if new and notes:
            self._parents.append(Parent(new, tuple(notes["features"]), tuple(notes["draws"]), tuple(notes["marks"])))

    def _parent(self, stream):
        """One with many pairs that were new rather than another."""
        return self._parents[stream.weighted({index: parent.new_pairs for index, parent in enumerate(self._parents)})]

    @staticmethod
    def _new(_):
        return None, ()

    def _mutated(self, stream):
        """The beginning of a program, and then something else; or all of it with one choice changed."""
        parent = self._parent(stream)
        if stream.chance(0.5):
            return parent.features, parent.draws[: stream.choice(parent.marks)]
        draws = list(parent.draws)
        draws[stream.below(len(draws))] = stream.below(64)
        return parent.features, draws

    def _spliced(self, stream):
        """The beginning of one program and the end of another."""
        first, second = self._parent(stream), self._parent(stream)
        return first.features, first.draws[: stream.choice(first.marks)] + second.draws[stream.choice(second.marks) :]
