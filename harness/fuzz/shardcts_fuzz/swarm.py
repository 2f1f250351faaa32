"""Features that a program may use. Every batch of programs switches each one off with probability 1/2."""

PROGRAMS_IN_A_BATCH = 10  # more would make short runs one-sided

FEATURES = (
    # wrappers
    "ddp", "replicate", "fully_shard", "fsdp", "hsdp", "tp", "checkpoint", "compile",
    # models
    "frozen", "ties", "buffers", "batch_norm", "extra_state", "parameters", "no_elements", "names", "dtypes",
    # what happens
    "training", "optimizer", "optimizer_options", "groups", "options", "illegal", "second_model", "types", "evaluation",
    "freezing", "filling", "reading", "one_rank", "given",
)  # fmt: skip

WRAPPERS = ("ddp", "replicate", "fully_shard", "fsdp", "hsdp", "tp")


def features_of(stream):
    """`stream`: that of the batch."""
    features = {name for name in FEATURES if stream.chance(0.5)}
    if not features & set(WRAPPERS):
        features.add(stream.choice(WRAPPERS))
    return features
