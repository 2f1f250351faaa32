// state_dict_bench: state dicts of sharded models, saved and loaded (rank_benchmarks.h). bench/state_dict_ratios.py
// runs it and compares.
//
// The bytes are those of the state dict on one rank: of the whole model for FULL, of the rank's shard for LOCAL and
// SHARDED. OPERATION is state_dict, load_state_dict or first_state_dict, the first one after a forward.
#include "bench/rank_benchmarks.h"

namespace shardcts::bench {
namespace {

using ModelCase = Case<ShardedModel>;

ModelCase Named(StateDictKind kind, const std::string& operation,
                const std::function<Measurement(ShardedModel&)>& start) {
  return {.kind = std::string(ToString(kind)),
          .operation = operation,
          .is_sharded = kind != StateDictKind::kFull,
          .start = start};
}

ModelCase Saves(StateDictKind kind) {
  return Named(kind, "state_dict", [kind](ShardedModel& model) {
    model.SetKind(kind);
    return Measurement{[&model] { return model.Save(); }};
  });
}

ModelCase SavesAfterForward(StateDictKind kind) {
  return Named(kind, "first_state_dict", [kind](ShardedModel& model) {
    model.SetKind(kind);
    return Measurement{[&model] { return model.Save(); }, [&model] { model.Compute(); }};
  });
}

ModelCase Loads(StateDictKind kind) {
  return Named(kind, "load_state_dict", [kind](ShardedModel& model) {
    return Measurement{[&model, saved = CallersState(model.SaveApart(kind))] {
      model.Load(saved.values);
      return Dict{};
    }};
  });
}

// After a forward the root's own parameters stay unsharded, and saving has nothing to gather: that case is last.
std::vector<ModelCase> Cases() {
  using enum StateDictKind;
  return {Saves(kFull),    Loads(kFull),    Saves(kLocal),           Loads(kLocal),
          Saves(kSharded), Loads(kSharded), SavesAfterForward(kFull)};
}

}  // namespace
}  // namespace shardcts::bench

int main(int argc, char** argv) {
  return shardcts::bench::RunOnRanks(
      argc, argv,
      {"state_dict_bench", "Saves and loads state dicts of sharded models, beside a memcpy of the same bytes.",
       "of the state dict on one rank: FULL the whole model, LOCAL and SHARDED a shard"},
      shardcts::bench::Cases());
}
