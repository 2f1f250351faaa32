"""Random optimizers."""

KINDS = {"sgd": 3, "adam": 4, "adamw": 2, "rmsprop": 1, "adagrad": 1, "nadam": 1, "radam": 1, "asgd": 1, "adamax": 1,
         "adadelta": 1}  # fmt: skip

OPTIONS = {
    "sgd": [{"momentum": 0.5}, {"momentum": 0.9, "nesterov": True}, {"momentum": 0.5, "dampening": 0.25},
            {"weight_decay": 0.5}],
    "adam": [{"amsgrad": True}, {"weight_decay": 0.5}, {"beta1": 0.5}],
    "adamw": [{"amsgrad": True}, {"weight_decay": 0.5}],
    "rmsprop": [{"momentum": 0.5}, {"centered": True}, {"weight_decay": 0.5}],
}  # fmt: skip


SCALARS = {"nadam", "asgd"}  # numbers in their state, which a load casts to the parameter's dtype (docs/contract.md)


def choose_optimizer(stream, names, features, dtype, prefer):
    """The arguments of optimizer.create but the model. `names`: of the parameters, tied ones once, of that dtype."""
    kinds = {name: KINDS[name] for name in KINDS if dtype == "float32" or name not in SCALARS}
    kind = stream.weighted(prefer("optimizer", kinds))
    options = {"lr": stream.choice([0.5, 0.125, 0.01])}
    if "optimizer_options" in features and kind in OPTIONS and stream.chance(0.6):
        options.update(stream.choice(OPTIONS[kind]))
    arguments = {"kind": kind, "options": options}
    if "groups" in features and len(names) > 1 and stream.chance(0.6):
        first = stream.subset(names)
        rest = [name for name in names if name not in first]
        groups = [{"parameters": part, "options": {"lr": lr}} for part, lr in ((first, 0.25), (rest, 0.0625)) if part]
        if stream.chance(0.5):
            groups.reverse()
        arguments["groups"] = groups
    return arguments
