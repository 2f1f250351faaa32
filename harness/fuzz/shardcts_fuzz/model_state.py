"""What the generator knows of a model of the program."""

from dataclasses import dataclass


@dataclass
class ModelState:
    name: str
    tree: object
    wrapping: object
    optimizer: dict = None  # the arguments of optimizer.create
    stepped: bool = False
    gradients: bool = False
    output: tuple = ()  # results of a forward without backward: the model's and the twin's
    unsharded: bool = False  # since a forward that no backward followed
    state_dict_type: str = "FULL"  # of FSDP1
    frozen: frozenset = frozenset()
    was_frozen: bool = False  # some parameter, at some time
    after_error: bool = False
    failed_load: bool = False  # some distributed load, at some time, was refused
    backwards: int = 0  # since there were no gradients
    made_state: bool = False  # a get has asked for the state of an optimizer that had none
    twice: bool = False  # two backwards of two forwards, at some time
    is_meta: bool = False  # is built without values

    def state_class(self):
        if self.after_error:
            return "after error"
        if self.output:
            return "between forward and backward"
        if self.unsharded:
            return "unsharded"
        if self.gradients:
            return "stepped, gradients" if self.stepped else "gradients"
        return "stepped" if self.stepped else "fresh"
