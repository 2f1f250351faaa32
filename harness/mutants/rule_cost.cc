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

// Compares each chunk with every other, also of other tensors.
void ComparePairs(MutantState&, Dict& arguments) {
  std::vector<int64_t> offsets;
  for (const auto& [name, layout] : arguments.At("tensors").AsDict()) {
    const at::Tensor column = layout.AsDict().At("chunks").AsTensor().select(1, 1).contiguous();
    offsets.insert(offsets.end(), column.const_data_ptr<int64_t>(), column.const_data_ptr<int64_t>() + column.numel());
  }
  volatile int64_t same = 0;
  for (int64_t one : offsets) {
    int64_t equal = 0;
    for (int64_t other : offsets) equal += one == other;
    same = same + equal;
  }
}

// A save in the background keeps a copy.
Mutation KeepStages() {
  const auto kept = std::make_shared<std::vector<Value>>();
  return OnArguments("storage.save_async", [kept](MutantState&, Dict& arguments) {
    Value copy = arguments.At("state_dict");
    ForEachLocal(copy, [](at::Tensor& local) { local = local.detach().clone(); });
    kept->push_back(std::move(copy));
  });
}

}  // namespace

std::vector<MutantRow> StorageCostMutants() {
  return {
      StorageRule(
          "RK2", "storage_lowest_rank_writes", "the lowest rank writes what several hold",
          "deduplication to the first rank",
          OnArguments("storage.save", [](MutantState&, Dict& arguments) { arguments.Set("lowest_rank", true); }), 2),
      StorageRule("SC1", "storage_all_staged", "a save copies everything before it writes", "pytorch/pytorch#195982",
                  OnSavedDict(CopyAll)),
      StorageRule("SC2", "storage_chunks_compared", "a plan compares each chunk with every other",
                  "pytorch/pytorch#163548", OnArguments("storage.plan_save", ComparePairs)),
      StorageRule("AS8", "storage_stages_kept", "a save in the background keeps what it has copied",
                  "a list of stages that nobody clears", KeepStages()),
      StorageRule("NM8", "storage_paths_flat", "a flattened state dict stays flat", "paths that are names",
                  OnResult("storage.unflatten",
                           [](MutantState&, const Dict& arguments, Value& nested) { nested = arguments.At("flat"); })),
      StorageRule("SC3", "storage_names_searched", "a save looks for each name in all others",
                  "a list where a map is needed", SearchNames),
      StorageRule("SC6", "storage_all_read", "a load reads the whole checkpoint first", "pytorch/pytorch#125740",
                  OnArguments("storage.load", ReadAll), 4),
  };
}

}  // namespace shardcts
