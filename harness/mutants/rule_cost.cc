// Mutants of the rules of the suite storage: saves and loads that give the right values, at too high a cost.
#include <ATen/ATen.h>

#include "mutants/checkpoints.h"

namespace shardcts {
namespace {

// Looks for each name in all others, and does so four times: what that takes stands out from what a save takes anyway.
Outcome SearchNames(MutantState& state, std::string_view operation, Dict& arguments) {
  if (operation != "storage.save") return state.inner.Invoke(operation, arguments);
  const std::vector<std::string> names = arguments.At("state_dict").AsDict().Keys();
  size_t equal = 0;
  for (int time = 0; time < 4; ++time) {
    for (const std::string& name : names) {
      for (const std::string& other : names) equal += other.find(name) != std::string::npos;
    }
  }
  if (equal < names.size()) return Error{"CheckpointException", "a name that is not equal to itself"};
  return state.inner.Invoke(operation, arguments);
}

void CopyAll(MutantState&, Dict&, Dict& saved) {
  Value tree = saved;
  ForEachLocal(tree, [](at::Tensor& local) {
    if (!local.is_meta()) local = local.detach().clone(at::MemoryFormat::Preserve);
  });
  saved = tree.AsDict();
}

void ReadAll(MutantState& state, Dict& arguments) {
  state.inner.Invoke("storage.read", {{"path", arguments.At("path")}});
}

}  // namespace

std::vector<MutantRow> StorageCostMutants() {
  return {
      StorageRule("RK2", "storage_lowest_rank_writes", "the lowest rank writes what several hold",
                  "deduplication to the first rank",
                  OnArguments("storage.save", [](MutantState&, Dict& arguments) { arguments.Set("lowest_rank", true); }), 2),
      StorageRule("SC1", "storage_all_staged", "a save copies everything before it writes", "pytorch/pytorch#195982",
                  OnSavedDict(CopyAll)),
      StorageRule("SC3", "storage_names_searched", "a save looks for each name in all others",
                  "a list where a map is needed", SearchNames),
      StorageRule("SC6", "storage_all_read", "a load reads the whole checkpoint first", "pytorch/pytorch#125740",
                  OnArguments("storage.load", ReadAll), 4),
  };
}

}  // namespace shardcts
