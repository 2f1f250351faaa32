// optim_state_bench: optimizer state of sharded models under Adam, saved and loaded (rank_benchmarks.h).
// bench/state_dict_ratios.py runs it and compares.
//
// KIND is FULL; RANK0, which is FULL with rank0_only; or SHARDED. OPERATION is optim_state_dict, which consolidates, or
// optim_state_dict_to_load, which makes of a saved state what the rank's optimizer loads. The bytes are those of the
// saved state on one rank: two moments for each parameter, of the whole model for FULL and RANK0, of a rank's shard for
// SHARDED. SIZE is that of the parameters.
#include "bench/rank_benchmarks.h"
#include "contract/fsdp_optim.h"

namespace shardcts::bench {
namespace {

constexpr int64_t kMoments = 2;

enum class Kind { kFull, kRank0, kSharded };
enum class Operation { kSave, kToLoad };

struct Case {
  Kind kind = Kind::kFull;
  Operation operation = Operation::kSave;
  int64_t mebibytes = 1;
};

const char* ToString(Kind kind) {
  switch (kind) {
    case Kind::kFull: return "FULL";
    case Kind::kRank0: return "RANK0";
    case Kind::kSharded: return "SHARDED";
  }
  return "";
}

// A model and its Adam, with state.
class OptimizedModel {
 public:
  // *Collective*, like all below. They throw OperationFailed.
  OptimizedModel(Measured& implementation, int64_t mebibytes, Units units)
      : model_(implementation, mebibytes, units),
        optimizer_(Subject(implementation).CreateOptimizer(model_.model(), "adam")) {
    optimizer_.InitState();
    optimizer_.ZeroGrad();
  }

  void SetKind(Kind kind) {
    StateDictConfig config;
    config.rank0_only = kind == Kind::kRank0;
    config.optim = OptimStateDictConfig{.rank0_only = kind == Kind::kRank0};
    SetStateDictType(model_.model(), kind == Kind::kSharded ? StateDictKind::kSharded : StateDictKind::kFull, config);
  }
  Dict Save() { return OptimStateDict(model_.model(), optimizer_); }
  Dict ToLoad(const Dict& saved) { return OptimStateDictToLoad(model_.model(), optimizer_, saved); }

 private:
  ShardedModel model_;
  Optimizer optimizer_;
};

class OptimStates {
 public:
  // *Collective*, as is all that follows.
  OptimStates(const Options& options, Communicator& world, const std::string& run_folder)
      : world_(world), models_(options, world, run_folder) {}

  void Run(benchmark::State& state, const std::string& source, const Case& which) {
    OptimizedModel& model = models_.Get(source, which.mebibytes);
    model.SetKind(which.kind);
    if (which.operation == Operation::kSave) {
      Iterate(state, world_, Bytes(which), [&] { return model.Save(); });
    } else {
      const Dict saved = model.Save();
      Iterate(state, world_, Bytes(which), [&] { return model.ToLoad(saved); });
    }
  }

  int64_t Bytes(const Case& which) const {
    const int64_t whole = kMoments * ModelBytes(which.mebibytes);
    return which.kind == Kind::kSharded ? whole / world_.size() : whole;
  }

 private:
  Communicator& world_;
  ModelsOfOneSize<OptimizedModel> models_;
};

std::shared_ptr<void> RegisterAll(const Options& options, Communicator& world, const std::string& run_folder) {
  const auto states = std::make_shared<OptimStates>(options, world, run_folder);
  for (const int64_t mebibytes : options.sizes) {
    for (const Kind kind : {Kind::kFull, Kind::kRank0, Kind::kSharded}) {
      for (const Operation operation : {Operation::kSave, Operation::kToLoad}) {
        const Case which{kind, operation, mebibytes};
        const bool saves = operation == Operation::kSave;
        const CaseName name{ToString(kind), saves ? "optim_state_dict" : "optim_state_dict_to_load", mebibytes};
        RegisterCase(options, world, name, states->Bytes(which),
                     [states = states.get(), which](benchmark::State& state, const std::string& source) {
                       states->Run(state, source, which);
                     });
      }
    }
  }
  return states;
}

}  // namespace
}  // namespace shardcts::bench

int main(int argc, char** argv) {
  return shardcts::bench::RunOnRanks(
      argc, argv,
      {"optim_state_bench", "Saves and loads optimizer state of sharded models, beside a memcpy of the same bytes.",
       "of Adam's two moments on one rank: FULL and RANK0 of the whole model, SHARDED of a shard",
       shardcts::bench::RegisterAll});
}
