"""Features that a program may use. Every batch of programs switches each one off with some probability."""

PROGRAMS_IN_A_BATCH = 10  # more would make short runs one-sided

FEATURES = (
    # wrappers
    "ddp", "replicate", "fully_shard", "fsdp", "hsdp", "tp", "checkpoint", "compile", "fsdp_mesh", "groups_of_ranks", "mixed",
    # models
    "frozen", "ties", "buffers", "batch_norm", "extra_state", "parameters", "no_elements", "names", "dtypes",
    # what happens
    "training", "optimizer", "optimizer_options", "groups", "options", "illegal", "second_model", "types", "evaluation",
    "freezing", "filling", "reading", "one_rank", "given", "assign", "edits", "bytes", "meta", "large",
    # on disk
    "storage", "phases",
)  # fmt: skip

# Others than 1/2: what many bugs need is left out less, and what takes long, or forbids much, is there less.
CHANCES = {"training": 0.75, "optimizer": 0.7, "fully_shard": 0.6, "fsdp": 0.65, "dtypes": 0.25, "frozen": 0.3, "freezing": 0.3, "compile": 0.25,
           "bytes": 0.2, "reading": 0.7, "checkpoint": 0.35, "batch_norm": 0.35, "tp": 0.65, "large": 0.06}  # fmt: skip

WRAPPERS = ("ddp", "replicate", "fully_shard", "fsdp", "hsdp", "tp")


def features_of(stream):
    """`stream`: that of the batch."""
    features = {name for name in FEATURES if stream.chance(CHANCES.get(name, 0.5))}
    if not features & set(WRAPPERS):
        features.add(stream.choice(WRAPPERS))
    return features
