// Mutants of storage: values that are right at first, in the wrong memory.
#include <ATen/ATen.h>

#include "mutants/mutate.h"

namespace shardcts {
namespace {

void CloneEntries(MutantState&, const Handle&, Dict& entries) {
  for (auto& [key, value] : entries) {
    if (DTensor* dtensor = value.TryAs<DTensor>()) dtensor->local = dtensor->local.clone();
    if (Tensor* tensor = value.TryAs<Tensor>()) tensor->data = tensor->data.detach().clone();
  }
}

Outcome ShareClones(MutantState& state, std::string_view operation, Dict& arguments) {
  if (operation == "tensor.clone") return arguments.At("value");
  return state.inner.Invoke(operation, arguments);
}

// Runs the operation, and after the first time for a model moves its parameters to new storage.
Mutation MoveAfterFirst(std::string trigger) {
  return [=](MutantState& state, std::string_view operation, Dict& arguments) {
    Outcome outcome = state.inner.Invoke(operation, arguments);
    if (operation != trigger || !outcome.ok()) return outcome;
    const Handle model = arguments.At("model").AsHandle();
    if (state.marked.insert(model.id).second) state.Require("model.reallocate", {{"model", model}});
    return outcome;
  };
}

Outcome SkipReallocate(MutantState& state, std::string_view operation, Dict& arguments) {
  if (operation == "model.reallocate") return Value();
  return state.inner.Invoke(operation, arguments);
}

// Fills a parameter's whole storage, the padding included.
Outcome FillPadding(MutantState& state, std::string_view operation, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(operation, arguments);
  if (operation != "model.fill" || !outcome.ok()) return outcome;
  const Value parameters = state.Require("model.parameters", {{"model", arguments.At("model")}});
  for (const auto& [name, value] : parameters.AsDict()) {
    const DTensor* dtensor = value.TryAs<DTensor>();
    if (!dtensor || dtensor->local.is_meta()) continue;
    const at::Tensor& local = dtensor->local;
    const auto stored = static_cast<int64_t>(local.storage().nbytes() / local.element_size());
    at::Tensor whole = at::empty({0}, local.options());
    whole.set_(local.storage(), 0, {stored}, {1}).fill_(arguments.At("value").AsDouble());
  }
  return outcome;
}

}  // namespace

std::vector<MutantRow> StorageMutants() {
  return {
      {{"state_dict_cloned",
        "state_dict returns copies instead of the live shards",
        "a cached state dict goes stale",
        kFullyShardSuite,
        {"test_dp_state_dict_save_load C9", "test_cached_state_dict C2"}},
       OnStateDict(CloneEntries)},
      {{"clone_shares_storage",
        "a clone of a tensor sees the original's memory",
        "staging without a copy",
        kFullyShardSuite,
        {"test_dp_state_dict_save_load C10"}},
       ShareClones},
      {{"training_moves_storage",
        "the first backward moves the shards to new storage",
        "lazy initialization re-pads a padded shard",
        kFullyShardSuite,
        {"test_cached_state_dict C4"}},
       MoveAfterFirst("model.backward")},
      {{"load_rebinds_storage",
        "load_state_dict puts new tensors in place instead of copying",
        "load rebinds the slot only",
        kFullyShardSuite,
        {"test_dp_state_dict_save_load C13"}},
       MoveAfterFirst("model.load_state_dict")},
      {{"device_move_ignored",
        "moving the module leaves the sharded parameters where they are",
        "references not refreshed after a move",
        kFullyShardSuite,
        {"test_cached_state_dict C3"}},
       SkipReallocate},
      {{"padding_written",
        "a fill reaches the padding rows of a shard",
        "padding counts as data",
        kFullyShardSuite,
        {"test_dp_state_dict_save_load C8"}},
       FillPadding},
  };
}

}  // namespace shardcts
