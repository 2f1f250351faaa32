// optim_state_bench: optimizer state of sharded models under Adam, saved and loaded (rank_benchmarks.h).
// bench/state_dict_ratios.py runs it and compares.
//
// KIND is FULL; RANK0, which is FULL with rank0_only; or SHARDED. OPERATION is optim_state_dict, which consolidates, or
// optim_state_dict_to_load, which converts a saved state to the form that the rank's optimizer loads. The bytes are
// those of the saved state on one rank: two moments for each parameter, of the full model for FULL and RANK0, of a
// rank's shard for SHARDED. SIZE is that of the parameters.
#include "bench/rank_benchmarks.h"
#include "contract/fsdp_optim.h"

namespace shardcts::bench {
namespace {

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

using OptimCase = Case<OptimizedModel>;

OptimCase Saves(Kind kind) {
  return CaseOf<OptimizedModel>(kind, "optim_state_dict", kMoments, [kind](OptimizedModel& model) {
    model.SetKind(kind);
    return Measurement{[&model] { return model.Save(); }};
  });
}

OptimCase MakesLoadable(Kind kind) {
  return CaseOf<OptimizedModel>(kind, "optim_state_dict_to_load", kMoments, [kind](OptimizedModel& model) {
    model.SetKind(kind);
    return Measurement{[&model, saved = CallersState(model.Save())] { return model.ToLoad(saved.values); }};
  });
}

std::vector<OptimCase> Cases() {
  std::vector<OptimCase> cases;
  for (const Kind kind : kKinds) cases.insert(cases.end(), {Saves(kind), MakesLoadable(kind)});
  return cases;
}

}  // namespace
}  // namespace shardcts::bench

int main(int argc, char** argv) {
  return shardcts::bench::RunOnRanks(
      argc, argv,
      {"optim_state_bench", "Saves and loads optimizer state of sharded models, beside a memcpy of the same bytes.",
       "of Adam's two moments on one rank: FULL and RANK0 of the whole model, SHARDED of a shard"},
      shardcts::bench::Cases());
}
