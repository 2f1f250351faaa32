"""The documentation against the tree: links, commands of code blocks, examples, words, width; no paths of a machine.

With SHARDCTS_BUILD (a build folder) in the environment, commands and flags of `shardcts` are compared with its --help.
"""

import json
import os
import re
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS_WITHOUT_PAGES = {".git", ".pytest_cache", ".venv", "out", "report"}

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^|\n\n)((?: {4}[^\n]*\n?)+)")
COMMAND = re.compile(r"(?:^|[\s/])shardcts ([a-z]+)\b(.*)")
FLAG = re.compile(r"(?<![\w-])(--[a-z][a-z-]*)")
MACHINE_PATH = re.compile(r"(?<![\w./$])/(?:work|home|root|tmp|Users)/[\w.-]+")
CODE_SPAN = re.compile(r"`[^`]+`")

WIDTH = 100
# Words of our own for which docs/glossary.md has the usual one, and which have no other use on these pages.
PRIVATE_WORDS = re.compile(
    r"\b(twins?|bells?|tickets?|doors?|somebody|takes\s+the\s+same\s+way|stands?\s+behind)\b", re.IGNORECASE)
GENERATED = {"docs/contract.md", "docs/capabilities.md"}  # one line for each paragraph


needs_a_build = pytest.mark.skipif("SHARDCTS_BUILD" not in os.environ, reason="needs a build: SHARDCTS_BUILD=build")


def pages() -> list[Path]:
    def is_page(path: Path) -> bool:
        first = path.relative_to(ROOT).parts[0]
        return first not in FOLDERS_WITHOUT_PAGES and not first.startswith("build")

    return sorted(path for path in ROOT.rglob("*.md") if is_page(path))


def anchors(page: Path) -> set[str]:
    """The addresses of a page's headings, as GitHub makes them."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#{1,6} +(.+?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: Path) -> list[tuple[str, str]]:
    """(subcommand, rest of the line) of every call of shardcts in a code block, continued lines joined."""
    text = page.read_text(encoding="utf-8")
    blocks = FENCED.findall(text) + INDENTED.findall(FENCED.sub("\n", text))
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = [COMMAND.search(line.split(" #")[0]) for line in lines]
    return [(match[1], match[2]) for match in found if match]


def links(page: Path) -> list[Path]:
    """The files of the tree that a page links to."""
    targets = [target.partition("#")[0] for target in LINK.findall(page.read_text(encoding="utf-8"))]
    return [(page.parent / target).resolve() for target in targets if target and not re.match(r"[a-z]+:", target)]


def prose(page: Path) -> list[tuple[int, str]]:
    """(number, text) of the lines of a page that are in no table and no code block."""
    lines, in_fence, in_block, after_blank = [], False, False, True
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        is_fence = line.startswith("```")
        in_block = line.startswith("    ") and (in_block or after_blank)
        if not (in_fence or is_fence or in_block or line.startswith("|")):
            lines.append((number, line))
        in_fence ^= is_fence
        after_blank = not line.strip()
    return lines


def edited_pages() -> list[Path]:
    names = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "fixtures/models/README.md", "reports/README.md"]
    return [ROOT / name for name in names] + sorted((ROOT / "docs").glob("*.md"))


def for_each_page(function):
    return pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))(function)


@for_each_page
def test_links_lead_into_the_tree(page):
    broken = []
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or not file.is_relative_to(ROOT):
            broken.append(target)
        elif anchor and file.suffix == ".md" and anchor not in anchors(file):
            broken.append(target)
    assert not broken


def test_every_page_is_reachable_from_the_readme():
    reached, to_visit = set(), [ROOT / "README.md"]
    while to_visit:
        page = to_visit.pop()
        if page not in reached and page.suffix == ".md" and page.exists():
            reached.add(page)
            to_visit += links(page)
    assert not [page.name for page in (ROOT / "docs").rglob("*.md") if page not in reached]


@pytest.mark.parametrize("page", edited_pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_is_wrapped(page):
    if str(page.relative_to(ROOT)) not in GENERATED:
        assert not [(number, line) for number, line in prose(page) if len(line) > WIDTH]


@pytest.mark.parametrize("page", edited_pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_no_private_words(page):
    text = CODE_SPAN.sub("", FENCED.sub("\n", page.read_text(encoding="utf-8")))
    assert not PRIVATE_WORDS.findall(text)


@pytest.mark.parametrize("line, width", [("x" * 101, 1), ("    " + "x" * 101, 0), ("| " + "x" * 101, 0),
                                         ("* x\n    " + "x" * 101, 1), ("```\n" + "x" * 101 + "\n```\nx", 0)])
def test_prose_is_found(tmp_path, line, width):
    """Guards the test of the width: code and tables are left out, continued items are not."""
    page = tmp_path / "page.md"
    page.write_text("A paragraph.\n\n" + line + "\n", encoding="utf-8")
    assert len([text for _, text in prose(page) if len(text) > WIDTH]) == width


@for_each_page
def test_no_paths_of_a_machine(page):
    assert not MACHINE_PATH.findall(page.read_text(encoding="utf-8"))


@for_each_page
def test_no_placeholders_are_left(page):
    assert not re.findall(r"@[A-Z_]+@|\bTODO\b", page.read_text(encoding="utf-8"))


def shardcts(*words, timeout: float = 60) -> subprocess.CompletedProcess:
    program = Path(os.environ["SHARDCTS_BUILD"]).resolve() / "shardcts"
    return subprocess.run([program, *words], capture_output=True, text=True, timeout=timeout, check=False)


@cache
def flags_of(subcommand: str) -> set[str]:
    done = shardcts(subcommand, "--help")
    assert done.returncode == 0, f"shardcts {subcommand}: no such command: {done.stdout}{done.stderr}"
    return set(FLAG.findall(done.stdout))


@needs_a_build
@for_each_page
def test_commands_and_flags_exist(page):
    for subcommand, rest in commands(page):
        assert set(FLAG.findall(rest)) <= flags_of(subcommand), f"shardcts {subcommand}{rest}"


def test_pages_show_commands():
    """Guards the two tests above against a pattern that finds nothing."""
    assert len(commands(ROOT / "README.md")) >= 9
    assert ("run", " --impl torch,device=cpu,backend=gloo --out out/gloo") in commands(ROOT / "README.md")


def test_a_shown_script_is_the_real_file():
    script = (ROOT / "docs" / "examples" / "uneven_linear.json").read_text(encoding="utf-8").strip()
    assert script in (ROOT / "docs" / "scripts.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", sorted((ROOT / "docs" / "examples").glob("*.json")), ids=lambda file: file.name)
def test_examples_name_operations_of_the_contract(file):
    table = json.loads((ROOT / "harness" / "contract" / "operations.json").read_text(encoding="utf-8"))
    known = {operation["name"]: operation for operation in table["operations"]}
    script = json.loads(file.read_text(encoding="utf-8"))
    for step in (step for phase in script.get("phases", [script]) for step in phase["steps"]):
        arguments = {argument["name"] for argument in known[step["op"]]["arguments"]}
        assert set(step.get("args", {})) <= arguments


# What docs/scripts.md and docs/deviations.md say about the examples: part of the first line of output; exit code.
PASSES = ("pass", 0)
IS_2_15 = tuple(int(part) for part in metadata.version("torch").split(".")[:2]) >= (2, 15)
EXAMPLES = {
    ("state_without_elements", "torch"): ('$state.state.b.extra.step: no "step"', 1),
    ("state_without_elements", "reference"): PASSES,
    ("backward_without_elements", "torch"): ("_chunk_cat expects non-empty tensor", 1),
    ("backward_without_elements", "reference"): PASSES,
    ("float16_after_a_get", "torch"): ("model.state_dict: ", 1),
    ("float16_after_a_get", "reference"): PASSES,
    ("get_between_forward_and_backward", "torch"): ("one of the variables needed for gradient computation has been modified", 1),
    ("get_between_forward_and_backward", "reference"): PASSES,
    ("missing_extra_state_replaced", "torch"): ("no value can hold a _EXTRA_STATE", 1),
    ("missing_extra_state_replaced", "reference"): PASSES,
    ("default_reduce_dtype", "torch"): ("tensor.full: index (0, 0): expected 0.5, actual 0.50097", 1) if IS_2_15 else PASSES,
    ("default_reduce_dtype", "reference"): PASSES,
    ("uneven_linear", "reference"): PASSES,
    ("uneven_linear", "torch"): PASSES,
    ("mesh_smaller_than_world", "torch"): PASSES,
    ("mesh_smaller_than_world", "reference"): ("RuntimeError: a mesh of 2 ranks over a world of 3", 1),
    ("failed_first_forward", "torch"): ("AttributeError: 'FSDPParam' object has no attribute 'param_dtype'", 1),
    ("failed_first_forward", "reference"): PASSES,
    ("uneven_strided_shard", "torch"): ("tensor.distribute: AssertionError", 1),
    ("uneven_strided_shard", "reference"): PASSES,
    ("sharded_dict_of_more_ranks", "torch"): ("model.load_state_dict: expected RuntimeError, actual {", 1),
    ("sharded_dict_of_more_ranks", "reference"): PASSES,
    ("sharded_entry_missing_on_one_rank", "reference"): PASSES,
    ("failed_load_of_an_inner_unit", "torch"): ("AssertionError: Entering the ``_unshard_fsdp_state_params``", 1),
    ("failed_load_of_an_inner_unit", "reference"): PASSES,
    ("ddp_inside_fsdp", "torch"): ("RuntimeError: Missing optimizer state for parameter '0.weight'", 1),
    ("ddp_inside_fsdp", "reference"): PASSES,
    ("assign_into_fsdp", "torch"): ("weight: index (0, 0): expected 2.5, actual 0", 1),
    ("assign_into_fsdp", "reference"): PASSES,
    ("uneven_dimension_refused_late", "torch"): ("model.parameters: p0: expected tensor", 1),
    ("uneven_dimension_refused_late", "reference"): PASSES,
    ("frozen_left_out_of_whole_offloaded", "torch"): ("KeyError: 'b.weight'", 1),
    ("frozen_left_out_of_whole_offloaded", "reference"): PASSES,
    ("whole_flat_state_is_not_loaded", "torch"): ("KeyError: 'param_groups.0.params.0'", 1),
    ("whole_flat_state_is_not_loaded", "reference"): PASSES,
    ("parameters_without_elements", "torch"): ("p0: shape: expected (1, 0), actual (0, 0)", 1),
    ("parameters_without_elements", "reference"): PASSES,
    ("group_option_that_the_group_lacks", "torch"): ("KeyError: 'param_groups.0.initial_lr'", 1),
    ("group_option_that_the_group_lacks", "reference"): PASSES,
    ("empty_parameter_group", "torch"): ("param_groups[0].lr: expected key is missing", 1),
    ("empty_parameter_group", "reference"): PASSES,
    ("parameter_group_that_is_split", "torch"): ("param_groups[0].lr: expected key is missing", 1),
    ("parameter_group_that_is_split", "reference"): PASSES,
    ("parameter_groups_that_disagree", "torch"): ("expected RuntimeError, actual none", 1),
    ("parameter_groups_that_disagree", "reference"): PASSES,
    ("several_optimizers_without_state", "torch"): ("ValueError: loaded state dict has a different number", 1),
    ("several_optimizers_without_state", "reference"): PASSES,
    ("one_optimizer_dict_loaded_twice", "torch"): ("tensor.to: index (): expected 1, actual 2", 1),
    ("one_optimizer_dict_loaded_twice", "reference"): PASSES,
    ("whole_and_offloaded_entries", "torch"): ("tensor.to: index (0, 0): expected 1, actual 0", 1),
    ("whole_and_offloaded_entries", "reference"): PASSES,
    ("slice_along_one_name_twice", "torch"): ("expected RuntimeError, actual ", 1),
    ("slice_along_one_name_twice", "reference"): PASSES,
    ("rate_in_whole_state", "torch"): ("tensor.to: index (): expected 0.5, actual 0.25", 1),
    ("rate_in_whole_state", "reference"): PASSES,
    ("moment_that_is_missing", "torch"): ("expected RuntimeError, actual none", 1),
    ("moment_that_is_missing", "reference"): PASSES,
    ("moment_that_is_distributed", "torch"): ("got mixed torch.Tensor and DTensor", 1),
    ("moment_that_is_distributed", "reference"): PASSES,
    ("second_name_of_a_frozen_parameter", "torch"): ("decoder.weight", 1),
    ("second_name_of_a_frozen_parameter", "reference"): PASSES,
    ("local_load_after_forward", "torch"): ("tensor.clone: index (0, 0): expected 2, actual 0", 1),
    ("local_load_after_forward", "reference"): PASSES,
    ("broadcast_load_after_forward", "torch"): ("dsd.set_model_state_dict: expected a value, actual RuntimeError", 1),
    ("broadcast_load_after_forward", "reference"): PASSES,
    ("whole_dict_of_another_group", "torch"): ('$saved.weight: no "weight"', 1),
    ("whole_dict_of_another_group", "reference"): PASSES,
    ("broadcast_in_two_groups", "torch"): ("tensor.clone: index (0, 0): expected 1, actual 0", 1),
    ("broadcast_in_two_groups", "reference"): PASSES,
    ("options_that_differ", "torch"): ("expected RuntimeError, actual {missing_keys: []", 1),
    ("options_that_differ", "reference"): PASSES,
    ("checkpoint_of_ranks_that_differ", "torch"): ("storage.save: expected CheckpointException, actual none", 1),
    ("checkpoint_of_ranks_that_differ", "reference"): PASSES,
    ("checkpoint_of_an_empty_shard", "torch"): ("invalid fill tensor-volume: 2 chunks-volume: 0", 1),
    ("checkpoint_of_an_empty_shard", "reference"): PASSES,
    ("checkpoint_of_an_empty_shard_behind", "torch"): ("mismatch sizes torch.Size([2]) vs torch.Size([0])", 1),
    ("checkpoint_of_an_empty_shard_behind", "reference"): PASSES,
    ("gradient_lost_after_a_forward", "torch"): ("weight: expected tensor float32 (1,) cpu = 1, actual none", 1),
    ("gradient_lost_after_a_forward", "reference"): PASSES,
    ("forward_after_an_offloaded_scope", "torch"): ("Output 0 of Split is a view", 1),
    ("forward_after_an_offloaded_scope", "reference"): PASSES,
    ("dropped_offloaded_gradient", "torch"): ("weight: index (0,): expected 1, actual 2", 1),
    ("dropped_offloaded_gradient", "reference"): PASSES,
    ("moment_that_the_loader_lacks", "torch"): ("optimizer.step: RuntimeError: aten.maximum.out got mixed", 1),
    ("moment_that_the_loader_lacks", "reference"): PASSES,
    ("legacy_state_of_another_group", "torch"): ("ValueError: Global rank 0 is not part of group", 1),
    ("legacy_state_of_another_group", "reference"): PASSES,
    ("optimizer_state_beside_units", "torch"): ("optimizer.step: RuntimeError: aten.lerp_.Scalar got mixed", 1),
    ("optimizer_state_beside_units", "reference"): PASSES,
    ("unit_with_a_mesh_in_one_without", "torch"): ("model.state_dict: AttributeError: 'NoneType' object has no attribute 'ndim'", 1),
    ("unit_with_a_mesh_in_one_without", "reference"): PASSES,
    ("plain_tensor_assigned_to_a_dtensor", "torch"): ("expected RuntimeError, actual AttributeError", 1),
    ("plain_tensor_assigned_to_a_dtensor", "reference"): PASSES,
    ("tied_name_that_a_load_lacks", "torch"): ("model.state_dict: decoder.weight", 1),
    ("tied_name_that_a_load_lacks", "reference"): PASSES,
    ("forward_after_a_refused_one", "torch"): ("'FSDPParam' object has no attribute 'param_dtype'", 1),
    ("forward_after_a_refused_one", "reference"): PASSES,
    ("frozen_tied_name_beside_a_unit", "torch"): ("second.weight: unexpected key", 1),
    ("frozen_tied_name_beside_a_unit", "reference"): PASSES,
    ("shards_by_columns_gathered", "torch"): ("sharded.gather: index (0, 1): expected 2, actual 3", 1),
    ("shards_by_columns_gathered", "reference"): PASSES,
    ("optimizer_state_under_a_missing_key", "torch"): ("storage.load_optimizer: expected CheckpointException", 1),
    ("optimizer_state_under_a_missing_key", "reference"): PASSES,
    ("redistribution_with_two_placements", "torch"): ("tensor.redistribute: expected ValueError, actual DTensor", 1),
    ("redistribution_with_two_placements", "reference"): PASSES,
    ("two_backwards_of_fsdp", "torch"): ("weight: index (0,): expected 2, actual 1", 1),
    ("two_backwards_of_fsdp", "reference"): PASSES,
    ("hybrid_of_one_rank_groups", "torch"): ("weight: index (0, 0): expected 2, actual 0.5", 1),
    ("hybrid_of_one_rank_groups", "reference"): PASSES,
    ("groups_into_a_rank_without_rows", "torch"): ("Missing key in checkpoint state_dict: optimizer.param_groups", 1),
    ("groups_into_a_rank_without_rows", "reference"): PASSES,
    ("checkpoint_of_int_keys", "torch"): ("storage.load: state_dict.state.0.step: expected 5, actual 0", 1),
    ("checkpoint_of_int_keys", "reference"): PASSES,
    ("checkpoint_of_wrong_parts", "torch"): ("storage.save: expected CheckpointException, actual none", 1),
    ("checkpoint_of_wrong_parts", "reference"): PASSES,
    ("checkpoint_of_stages_with_one_name", "torch"): ("storage.save: expected CheckpointException, actual none", 1),
    ("checkpoint_of_stages_with_one_name", "reference"): PASSES,
    ("checkpoint_cast_at_load", "torch"): ("storage.load: expected CheckpointException, actual {state_dict:", 1),
    ("checkpoint_cast_at_load", "reference"): PASSES,
    ("missing_name_filled_in", "torch"): ("expected RuntimeError, actual {missing_keys: []", 1),
    ("missing_name_filled_in", "reference"): PASSES,
    ("missing_name_not_listed", "torch"): ("missing_keys: expected a list of 1, actual 0", 1),
    ("missing_name_not_listed", "reference"): PASSES,
    ("missing_name_in_an_fsdp_unit", "torch"): ("dsd.set_model_state_dict: expected a value, actual RuntimeError", 1),
    ("missing_name_in_an_fsdp_unit", "reference"): PASSES,
    ("missing_name_on_one_rank", "torch"): ("expected RuntimeError, actual {missing_keys: []", 1),
    ("missing_name_on_one_rank", "reference"): PASSES,
    ("unexpected_name_on_rank_0", "torch"): ("expected RuntimeError, actual {missing_keys: []", 1),
    ("unexpected_name_on_rank_0", "reference"): PASSES,
    ("wrong_shape_on_one_rank", "torch"): ("expected RuntimeError, actual {missing_keys: []", 1),
    ("wrong_shape_on_one_rank", "reference"): PASSES,
    ("names_in_another_order", "torch"): ("0.weight: index (1, 0): expected 3, actual 5", 1),
    ("names_in_another_order", "reference"): PASSES,
    ("real_parameters_replaced", "torch"): ("tensor.clone: index (0, 0): expected 3, actual 1", 1),
    ("real_parameters_replaced", "reference"): PASSES,
    ("optimizer_of_another_group", "torch"): ("ValueError: Global rank 0 is not part of group", 1),
    ("optimizer_of_another_group", "reference"): PASSES,
    ("optimizer_state_after_forward", "torch"): ("dsd.get_optimizer_state_dict: KeyError: 0", 1),
    ("optimizer_state_after_forward", "reference"): PASSES,
    ("whole_load_after_forward", "torch"): ("dsd.set_model_state_dict: expected a value, actual RuntimeError", 1),
    ("whole_load_after_forward", "reference"): PASSES,
    ("load_before_backward", "torch"): ("model.backward: RuntimeError: Output 0 of T is a view", 1),
    ("load_before_backward", "reference"): PASSES,
    ("cast_after_forward", "torch"): ("RuntimeError: Expected out tensor to have dtype double, but got float", 1),
    ("cast_after_forward", "reference"): PASSES,
    ("failed_function_leaves_type", "torch"): ('type: expected "SHARDED", actual "FULL"', 1),
    ("failed_function_leaves_type", "reference"): PASSES,
    ("forward_between_backward_and_step", "torch"): ("tensor.clone: index (0, 0): expected 0, actual 2", 1),
    ("forward_between_backward_and_step", "reference"): PASSES,
    ("hooks_see_wrappers", "torch"): ('saves[0]: expected "", actual "_fsdp_wrapped_module."', 1),
    ("hooks_see_wrappers", "reference"): PASSES,
    ("extra_state_none_under_ddp", "torch"): ("RuntimeError: Missing key: _extra_state.", 1),
    ("extra_state_none_under_ddp", "reference"): PASSES,
    ("state_of_part_of_the_parameters", "torch"): ("RuntimeError: Missing optimizer state for parameter '0.weight'", 1),
    ("state_of_part_of_the_parameters", "reference"): PASSES,
    ("flat_state_that_is_missing", "torch"): ("expected RuntimeError, actual none", 1),
    ("flat_state_that_is_missing", "reference"): PASSES,
    ("flat_state_that_the_optimizer_lacks", "torch"): ('$b.state.weight.count: no "count"', 1),
    ("flat_state_that_the_optimizer_lacks", "reference"): PASSES,
    ("ranks_that_list_parameters_differently", "torch"): ("first: index (1, 0): expected 6, actual 2", 1),
    ("ranks_that_list_parameters_differently", "reference"): PASSES,
    ("edited_optimizer_dict", "torch"): ("$state.state.0.step", 1),
    ("edited_optimizer_dict", "reference"): PASSES,
    ("tie_lost_on_meta", "torch"): ("model.parameters: d.weight: unexpected key", 1),
    ("tie_lost_on_meta", "reference"): PASSES,
    ("buffer_left_on_meta", "torch"): ("missing_keys: expected a list of 1, actual 0", 1),
    ("buffer_left_on_meta", "reference"): PASSES,
    ("state_dict_in_a_forward", "torch"): ("AssertionError: Entering the ``_unshard_fsdp_state_params``", 1),
    ("state_dict_in_a_forward", "reference"): PASSES,
    ("hooks_run_by_a_get", "torch"): ("optimizer.hook_runs: before: expected 0, actual 1", 1),
    ("hooks_run_by_a_get", "reference"): PASSES,
}


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory):
    """outcomes(implementation) -> {example: (verdict, reason)} of one run of all examples."""

    @cache
    def run(implementation):
        out = tmp_path_factory.mktemp(implementation) / "out"
        done = shardcts("exec", ROOT / "docs" / "examples", "--impl", implementation, "--out", out, timeout=400)
        assert done.returncode == 1, done.stdout + done.stderr
        tests = json.loads((out / "results.json").read_text(encoding="utf-8"))["tests"]
        return {test["upstream_id"]: (test["verdict"], test["reason"]) for test in tests}

    return run


@needs_a_build
def test_what_hangs_on_pytorch_passes_on_the_reference(tmp_path):
    done = shardcts("exec", ROOT / "docs" / "examples" / "hangs", "--impl", "reference", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr


@needs_a_build
@pytest.mark.parametrize("example, implementation", EXAMPLES)
def test_examples_do_what_the_pages_say(example, implementation, outcomes):
    verdict, reason = outcomes(implementation)[example]
    text, code = EXAMPLES[example, implementation]
    assert (verdict, text in f"{verdict}: {reason}") == ("fail" if code else "pass", True), reason
