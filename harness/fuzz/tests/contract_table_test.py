"""The arguments of operations, from the table of the contract."""

from shardcts_fuzz.contract_table import TABLE, read_contract


def test_fields_of_records_stand_behind_their_argument():
    contract = read_contract(TABLE)
    assert contract["tensor.fill"] == ["value", "scalar"]
    assert {"wrapper", "options.reshard_after_forward", "options.mp_policy.reduce_dtype"} <= set(contract["model.wrap"])
    assert {"config.rank0_only", "optim_config.use_dtensor"} <= set(contract["fsdp.state_dict_type"])
    assert all(len(names) == len(set(names)) for names in contract.values())
