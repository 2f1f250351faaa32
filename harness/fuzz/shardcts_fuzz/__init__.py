"""Makes random programs of operations, runs them, and judges what they did (docs/fuzzing.md)."""

GENERATOR_VERSION = 6  # program n of seed s is the same as long as this is
