// state_dict_bench: state dicts of sharded models, saved and loaded (rank_benchmarks.h). bench/state_dict_ratios.py runs
// it and compares.
//
// The bytes are those of the state dict on one rank: of the whole model for FULL, of the rank's shard for LOCAL and
// SHARDED. OPERATION is state_dict, load_state_dict or first_state_dict, the first one after a forward.
#include "bench/rank_benchmarks.h"

namespace shardcts::bench {
namespace {

enum class Operation { kStateDict, kFirstStateDict, kLoadStateDict };

const char* ToString(Operation operation) {
  switch (operation) {
    case Operation::kStateDict: return "state_dict";
    case Operation::kFirstStateDict: return "first_state_dict";
    case Operation::kLoadStateDict: return "load_state_dict";
  }
  return "";
}

struct Case {
  StateDictKind kind = StateDictKind::kFull;
  Operation operation = Operation::kStateDict;
  int64_t mebibytes = 1;
};

class StateDicts {
 public:
  // *Collective*, as is all that follows.
  StateDicts(const Options& options, Communicator& world, const std::string& run_folder)
      : world_(world), models_(options, world, run_folder) {}

  void Run(benchmark::State& state, const std::string& source, const Case& which) {
    ShardedModel& model = models_.Get(source, which.mebibytes);
    if (which.operation == Operation::kLoadStateDict) {
      const Dict saved = model.SaveApart(which.kind);
      Iterate(state, world_, Bytes(which), [&] {
        model.Load(saved);
        return nullptr;
      });
    } else {
      const bool is_first = which.operation == Operation::kFirstStateDict;
      const auto prepare = [&] {
        if (is_first) model.Compute();
      };
      model.SetKind(which.kind);
      Iterate(state, world_, Bytes(which), [&] { return model.Save(); }, prepare);
    }
  }

  int64_t Bytes(const Case& which) const {
    const int64_t whole = ModelBytes(which.mebibytes);
    return which.kind == StateDictKind::kFull ? whole : whole / world_.size();
  }

 private:
  Communicator& world_;
  ModelsOfOneSize<ShardedModel> models_;
};

std::shared_ptr<void> RegisterAll(const Options& options, Communicator& world, const std::string& run_folder) {
  constexpr std::pair<StateDictKind, Operation> kCases[] = {
      {StateDictKind::kFull, Operation::kStateDict},        {StateDictKind::kFull, Operation::kFirstStateDict},
      {StateDictKind::kFull, Operation::kLoadStateDict},    {StateDictKind::kLocal, Operation::kStateDict},
      {StateDictKind::kLocal, Operation::kLoadStateDict},   {StateDictKind::kSharded, Operation::kStateDict},
      {StateDictKind::kSharded, Operation::kLoadStateDict},
  };
  const auto state_dicts = std::make_shared<StateDicts>(options, world, run_folder);
  for (const int64_t mebibytes : options.sizes) {
    for (const auto& [kind, operation] : kCases) {
      const Case which{kind, operation, mebibytes};
      const CaseName name{std::string(ToString(kind)), ToString(operation), mebibytes};
      RegisterCase(options, world, name, state_dicts->Bytes(which),
                   [state_dicts = state_dicts.get(), which](benchmark::State& state, const std::string& source) {
                     state_dicts->Run(state, source, which);
                   });
    }
  }
  return state_dicts;
}

}  // namespace
}  // namespace shardcts::bench

int main(int argc, char** argv) {
  return shardcts::bench::RunOnRanks(
      argc, argv,
      {"state_dict_bench", "Saves and loads state dicts of sharded models, beside a memcpy of the same bytes.",
       "of the state dict on one rank: FULL the whole model, LOCAL and SHARDED a shard", shardcts::bench::RegisterAll});
}
