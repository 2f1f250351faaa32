"""The records of the contract have the names and defaults of the PyTorch classes that they stand for."""

import dataclasses
import inspect
import json
from pathlib import Path

import pytest
import torch
from torch.distributed import fsdp
from torch.distributed.checkpoint.state_dict import StateDictOptions

TABLE = json.loads((Path(__file__).parents[3] / "contract" / "operations.json").read_text(encoding="utf-8"))
RECORDS = {record["name"]: {field["name"]: field for field in record["fields"]}
           for record in TABLE["records"] if "fields" in record}
DATACLASSES = {
    "offload_policy": fsdp.CPUOffloadPolicy,
    "mp_policy": fsdp.MixedPrecisionPolicy,
    "mixed_precision": fsdp.MixedPrecision,
    "full_config": fsdp.FullStateDictConfig,
    "local_config": fsdp.LocalStateDictConfig,
    "sharded_config": fsdp.ShardedStateDictConfig,
    "full_optim_config": fsdp.FullOptimStateDictConfig,
    "local_optim_config": fsdp.LocalOptimStateDictConfig,
    "sharded_optim_config": fsdp.ShardedOptimStateDictConfig,
    "state_dict_options": StateDictOptions,
}
SIGNATURES = {
    "fsdp_options": fsdp.FullyShardedDataParallel,
    "sgd_options": torch.optim.SGD,
    "adam_options": torch.optim.Adam,
    "adamw_options": torch.optim.AdamW,
}
# Not in the contract: the classes of modules that mixed precision leaves alone, and a function of the parameter (PyTorch 2.15).
LEFT_OUT = {"module_classes_to_ignore", "param_dtype_override_fn"}


@pytest.mark.parametrize("name", DATACLASSES)
def test_fields_and_defaults_are_those_of_the_class(name):
    ours = {field: spec.get("default") for field, spec in RECORDS[name].items() if field not in ("kind", "class")}
    theirs = {field.name.removeprefix("_"): field.default
              for field in dataclasses.fields(DATACLASSES[name])}
    assert ours == {field: default for field, default in theirs.items() if field not in LEFT_OUT}


@pytest.mark.parametrize("name", SIGNATURES)
def test_plain_defaults_are_those_of_the_constructor(name):
    defaults = {key: parameter.default for key, parameter in inspect.signature(SIGNATURES[name]).parameters.items()}
    if "betas" in defaults:
        defaults["beta1"], defaults["beta2"] = defaults["betas"]
    shared = {key: spec["default"] for key, spec in RECORDS[name].items()
              if "default" in spec and isinstance(defaults.get(key), (bool, int, float))}
    assert len(shared) >= 2
    assert shared == {key: defaults[key] for key in shared}


def test_classes_are_those_of_the_records():
    for record in TABLE["records"]:
        if record.get("by") == "class":
            for class_name, fields in record["cases"].items():
                assert DATACLASSES[fields].__name__ == class_name
                assert RECORDS[fields]["class"]["values"] == [class_name]


def test_a_case_has_the_field_that_chooses_it():
    """A record that is chosen by a field of its own names itself in it."""
    for record in TABLE["records"]:
        for case, fields in record.get("cases", {}).items():
            assert RECORDS[fields].get(record["by"], {"values": [case]})["values"] == [case]
