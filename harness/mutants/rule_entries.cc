// Mutants of the rules of the suite storage: what goes wrong with single entries: keys, ties, tensors without memory,
// state of optimizers.
#include <ATen/ATen.h>

#include <algorithm>
#include <functional>

#include "mutants/checkpoints.h"

namespace shardcts {
namespace {

bool HasMeta(MutantState&, const Dict& arguments) {
  bool has_meta = false;
  Value tree = arguments.At("state_dict");
  ForEachLocal(tree, [&](at::Tensor& local) { has_meta = has_meta || local.is_meta(); });
  return has_meta;
}

// Makes each dict of the tree anew, from the innermost outwards; `put` decides what of an entry comes into it.
void RemakeDicts(Value& tree, const std::function<void(Dict& made, const Key& key, Value value)>& put) {
  if (auto* list = tree.TryAs<List>()) {
    for (Value& value : *list) RemakeDicts(value, put);
  } else if (const auto* dict = tree.TryAs<Dict>()) {
    Dict made;
    for (const auto& [key, value] : *dict) {
      Value inner = value;
      RemakeDicts(inner, put);
      put(made, key, inner);
    }
    tree = made;
  }
}

void IntKeysBecomeTexts(Value& tree) {
  RemakeDicts(tree, [](Dict& made, const Key& key, Value value) { made.Set(ToString(key), value); });
}

void DropEmptyDicts(Value& tree) {
  RemakeDicts(tree, [](Dict& made, const Key& key, Value value) {
    const Dict* nested = value.TryAs<Dict>();
    if (!nested || !nested->empty()) made.Set(key, value);
  });
}

// Of the names of one tensor the first is saved.
void SaveFirstNames(MutantState&, Dict&, Dict& saved) {
  std::vector<const void*> seen;
  Dict kept;
  for (const auto& [name, value] : saved) {
    Value entry = value;
    const at::Tensor* local = LocalOf(entry);
    const void* place = local && local->numel() > 0 ? local->const_data_ptr() : nullptr;
    if (place && std::ranges::count(seen, place) > 0) continue;
    seen.push_back(place);
    kept.Set(name, value);
  }
  saved = kept;
}

void StepsFromOne(MutantState&, const Dict&, Value& loaded) {
  Value* optimizer = loaded.AsDict().Find("optimizer");
  if (!optimizer) return;
  ForEachLocal(*optimizer, [](at::Tensor& local) {
    if (local.dim() == 0) local.detach().fill_(1);
  });
}

void LoseExtraState(MutantState&, const Dict&, Value& loaded) {
  for (auto& [name, value] : loaded.AsDict()) {
    if (Dict* model = value.TryAs<Dict>()) {
      for (auto& [inner, entry] : *model) {
        if (ToString(inner).ends_with("_extra_state")) entry = Value("");
      }
    }
  }
}

Outcome ReadOnRank0Only(MutantState& state, std::string_view operation, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(operation, arguments);
  if (operation != "storage.read" || state.context.rank == 0) return outcome;
  return Outcome(Error{"CheckpointException", "rank 0 reads"});
}

}  // namespace

std::vector<MutantRow> StorageEntryMutants() {
  return {
      StorageRule("LD6", "storage_meta_refused", "a load into a tensor without memory is an error", "copy_ into meta",
                  RefuseLoads(HasMeta, "a tensor on the meta device")),
      StorageRule("LD8", "storage_read_on_rank_0_only", "a read on any rank but the first is an error",
                  "a coordinator where one rank is enough", ReadOnRank0Only, 2),
      StorageRule("NM4", "storage_int_keys_become_texts", "int keys are texts after a load", "keys joined to names",
                  OnLoadedDict([](MutantState&, const Dict&, Value& loaded) { IntKeysBecomeTexts(loaded); })),
      StorageRule("NM5", "storage_empty_dicts_dropped", "dicts without entries are not read", "pytorch/pytorch#137327",
                  OnReadDict([](MutantState&, const Dict&, Value& read) { DropEmptyDicts(read); })),
      StorageRule("NM7", "storage_tied_saved_once", "of the names of one tensor the first is saved",
                  "ties removed before a save", OnSavedDict(SaveFirstNames)),
      StorageRule("OM2", "storage_steps_from_one", "steps are 1 after a load", "state made by a step and not loaded",
                  OnLoadedDict(StepsFromOne)),
      StorageRule("OM3", "storage_extra_state_lost", "extra state is empty after a load", "values that are no tensors",
                  OnLoadedDict(LoseExtraState)),
  };
}

}  // namespace shardcts
