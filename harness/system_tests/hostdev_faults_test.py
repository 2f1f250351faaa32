"""Faults of an implementation that need an accelerator: hostdev, the emulated one, shows each of them. A machine without an
accelerator passes most: there is one memory, and work is done when a call returns."""

from __future__ import annotations

import pytest

DP_SAVE_LOAD = "*test_dp_state_dict_save_load/world_size=2,mesh=1-D,mlp_dim=4*"
CACHED = "*test_cached_state_dict/world_size=2,mlp_dim=3*"
CPU_OFFLOAD = "*test_dp_state_dict_cpu_offload*"
FULL_OFFLOAD = "*test_cpu_offload_full_state_dict/world_size=4*"
META_MODEL = "*test_setting_meta_device_model/world_size=4"
TRAINED = "extended/TR2/world_size=2,wrapper=fully_shard,optimizer=sgd"
TRAINED_OFFLOADED = "extended/DT10/world_size=2,form=native"
TRAINED_HSDP = "extended/TR2/world_size=4,wrapper=hsdp,optimizer=sgd"

DEVICE, WAIT = "device_faults:DeviceFaults", "wait_faults:WaitFaults"

# The tests of world size 2 or 4, and the faults that they show on hostdev.
FAULTS = [
    (2, DP_SAVE_LOAD, {"host_writes_device_memory": DEVICE, "host_reads_device_memory": DEVICE,
                       "stream_is_not_waited_for": WAIT, "event_is_recorded_before_the_work": WAIT}),
    (2, CPU_OFFLOAD, {"pinning_is_left_out": DEVICE, "offloaded_shards_move_back": DEVICE}),
    (2, CACHED, {"device_without_index_is_another": DEVICE}),
    (2, TRAINED, {"staging_buffer_is_reused": WAIT, "all_gather_is_not_waited_for": WAIT,
                  "collective_is_not_waited_for": WAIT}),
    (2, TRAINED_OFFLOADED, {"offloaded_gradient_is_not_waited_for": WAIT}),
    (4, FULL_OFFLOAD, {"offload_is_left_out": DEVICE, "scalars_stay_on_the_device": DEVICE}),
    (4, META_MODEL, {"copy_is_not_waited_for": WAIT, "copy_waits_for_another_stream": WAIT}),
    (4, TRAINED_HSDP, {"group_rank_is_taken_for_the_device": DEVICE, "reduced_gradient_is_not_waited_for": WAIT}),
]

# Of a full state dict, the offload also decides which ranks have entries.
SHOWN_ON_THE_CPU = {"offload_is_left_out"}
# On the CPU the end of a collective is a matter of luck with gloo.
IN_TIME_WITH = {"collective_is_not_waited_for": ",backend=local"}


@pytest.mark.parametrize("world, tests, faults", FAULTS, ids=[tests for _, tests, _ in FAULTS])
def test_faults_that_need_an_accelerator_are_shown(run_shardcts, world, tests, faults):
    """One run, so that its ranks are forks of few processes; the fault is what tells its implementations apart."""
    shown = {}
    for fault, adapter in faults.items():
        shown[f"python:{adapter},device=hostdev,fault={fault}"] = True
        if fault not in SHOWN_ON_THE_CPU:
            shown[f"python:{adapter}{IN_TIME_WITH.get(fault, '')},fault={fault}"] = False
    ended, run = run_shardcts(list(shown), "--world", world, "--filter", tests, timeout=400)
    assert ended.code == 1, ended
    for implementation, fails in shown.items():
        verdicts = set(run.of(implementation).verdicts)
        assert verdicts & {"fail", "crash"} if fails else verdicts == {"pass"}, (implementation, verdicts, ended)
