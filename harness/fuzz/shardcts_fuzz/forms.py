"""The forms in which the state of a model or an optimizer is taken, with what must hold of each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    name: str
    op: str
    options: tuple = ()  # of dsd: names of options that are on
    whole: bool = False  # plain tensors of the whole shape
    rank0: bool = False  # rank 0 has it, the others have nothing
    optimizer: bool = False

    def arguments(self, model):
        arguments = {"model": "$" + model.name}
        if self.optimizer:
            arguments["optimizers"] = ["$o" + model.name]
        if self.options:
            arguments["options"] = {name: True for name in self.options}
        return arguments


MODEL = "dsd.get_model_state_dict"
OPTIMIZER = "dsd.get_optimizer_state_dict"

FORMS = {
    form.name: form
    for form in (
        Form("plain", "model.state_dict"),
        Form("dsd", MODEL),
        Form("dsd full", MODEL, ("full_state_dict",), whole=True),
        Form("dsd cpu", MODEL, ("cpu_offload",)),
        Form("dsd full cpu", MODEL, ("full_state_dict", "cpu_offload"), whole=True, rank0=True),
        Form("dsd optimizer", OPTIMIZER, optimizer=True),
        Form("dsd optimizer full", OPTIMIZER, ("full_state_dict",), whole=True, optimizer=True),
        Form("dsd optimizer cpu", OPTIMIZER, ("cpu_offload",), optimizer=True),
        Form("dsd optimizer full cpu", OPTIMIZER, ("full_state_dict", "cpu_offload"), True, True, optimizer=True),
        Form("dsd optimizer flat", OPTIMIZER, ("flatten_optimizer_state_dict",), optimizer=True),
        Form("dsd optimizer full flat", OPTIMIZER, ("full_state_dict", "flatten_optimizer_state_dict"), whole=True,
             optimizer=True),
    )
}  # fmt: skip


def model_forms(options_vary):
    names = ["plain", "dsd", "dsd full"]
    if options_vary:
        names += ["dsd cpu", "dsd full cpu"]
    return [FORMS[name] for name in names]


def optimizer_forms(options_vary):
    names = ["dsd optimizer", "dsd optimizer full"]
    if options_vary:
        names += ["dsd optimizer cpu", "dsd optimizer full cpu", "dsd optimizer flat", "dsd optimizer full flat"]
    return [FORMS[name] for name in names]


def is_whole(form, model, world):
    """Whether the entries are plain tensors of the whole shape that mean the same on every rank."""
    if form.optimizer or form.op != "model.state_dict":
        return form.whole or (model.wrapping.family in ("plain", "ddp", "replicate"))
    if model.wrapping.is_fsdp:
        return model.state_dict_type == "FULL"
    return not model.wrapping.shards_tensors
