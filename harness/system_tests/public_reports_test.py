"""Scripts made from public bug reports (docs/examples/public_reports): what each expects holds on the reference, and on
PyTorch, or PyTorch 2.13 differs as docs/deviations.md says."""

from __future__ import annotations

import pytest

from conftest import REPOSITORY, end_of, read_json, start_shardcts

FOLDER = REPOSITORY / "docs/examples/public_reports"
SCRIPTS = sorted(FOLDER.glob("*.json"))
DEVIATIONS = (REPOSITORY / "docs/deviations.md").read_text(encoding="utf-8")

# What PyTorch 2.13 does instead: a part of the output. Others pass on it.
ON_TORCH = {
    "checkpoint_outside_compile": "0.weight: expected key is missing",
    "consolidate_files_that_differ": "expected CheckpointException, actual none",
    "consolidate_other_names": "expected CheckpointException, actual none",
    "consolidated_again_or_refused": "steps[3] storage.consolidate: expected CheckpointException, actual none",
    "consolidated_over_a_checkpoint": "steps[2] storage.consolidate: expected CheckpointException, actual none",
    "ddp_broadcast_all_ranks_give": 'Unexpected key(s) in state_dict: "weight"',
    "ddp_plain_state_dict": "weight: expected key is missing",
    "dummy_step_with_weight_decay": "expected 0, actual 0.100000001",
    "empty_group_first": "KeyError: 'betas'",
    "flat_keeps_initial_lr": '$b.param_groups.0.initial_lr: no "initial_lr"',
    "flat_sgd_leaves_no_state": "state.0: unexpected key",
    "freeze_after_forward": "nothing: expected none, actual DTensor",
    "frozen_when_loading": '$b.state.0.weight.step: no "0.weight.step"',
    "fsdp1_flat_checkpoint_optimizer": "Missing optimizer state for parameter '0._checkpoint_wrapped_module.weight'",
    "grads_without_state_full": "AssertionError: Expected device to be set",
    "hang_hides_the_error": "rank 1 raised RuntimeError: output with shape [1, 2] doesn't match",
    "later_save_in_another_format": "steps[2] storage.read: a: index (0,): expected 3, actual 1",
    "module_under_two_names": "again.weight: expected key is missing",
    "moments_of_a_transposed_weight": "steps[14] tensor.clone: index (1, 0): expected 1, actual 2",
    "moved_after_backward": "steps[9] model.state_dict: weight: index (0, 0): expected 0, actual 1",
    "nested_int_keys_full": "pre.0: expected key is missing: it is an int, and there as text",
    "no_overwrite_of_safetensors": "steps[1] storage.save: expected CheckpointException, actual none",
    "own_step_of_each_parameter": "bias: index (): expected 1, actual 50",
    "safetensors_of_more_ranks": "expected CheckpointException, actual {state_dict: {old: tensor float32 (1,) cpu = 9}}",
    "state_names_in_another_order": "steps[10] tensor.clone: index (1, 0): expected 0.5, actual 0.25",
    "state_of_an_unused_parameter_in_a_checkpoint": "Missing key in checkpoint state_dict: optimizer.state.b.weight.step",
    "stateless_optimizer_full": "AssertionError: Expected device to be set",
    "step_after_evaluation": "weight: index (0, 0): expected 0, actual 1",
    "thaw_after_forward": "element 0 of tensors does not require grad",
    "thaw_mixed_precision": "attempting to assign a gradient with dtype 'c10::BFloat16'",
    "unexpected_key_cpu_offload": "KeyError: 'more'",
    "value_for_a_tensor": "expected CheckpointException, actual {state_dict: {step: 5}}",
    "wrong_shape_broadcast": "expected RuntimeError, actual {missing_keys: [], unexpected_keys: []}",
    "wrong_shape_moment": "expected ValueError, actual none",
}


def test_every_difference_is_a_deviation_with_its_script():
    assert len(SCRIPTS) >= 38
    assert set(ON_TORCH) <= {script.stem for script in SCRIPTS}
    assert [name for name in ON_TORCH if f"`{name}.json`" not in DEVIATIONS] == []


@pytest.fixture(scope="module", params=["reference", "torch"])
def judged(request, tmp_path_factory):
    """The implementation's name, and all scripts on it, run in one pool: its results by the script's name."""
    folder = tmp_path_factory.mktemp(request.param)
    process = start_shardcts("exec", FOLDER, "--impl", request.param, "--timeout", "20", "--out", "out", cwd=folder)
    ended = end_of(process, 400)
    assert ended.code == (0 if request.param == "reference" else 1), ended
    tests = read_json(folder / "out/results.json")["tests"]
    return request.param, {test["upstream_id"]: test for test in tests}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_holds_or_is_a_deviation(judged, script):
    implementation, tests = judged
    test = tests[script.stem]
    expected = ON_TORCH.get(script.stem) if implementation == "torch" else None
    if expected is None:
        assert test["verdict"] == "pass", test
    else:
        told = [test["reason"], *(failure["message"] for failure in test["failures"])]
        assert test["verdict"] != "pass" and any(expected in text for text in told), told
