// dsd_bench: state dicts of models under fully_shard and of their Adam, through the distributed state-dict functions
// (rank_benchmarks.h). bench/state_dict_ratios.py runs it and compares.
//
// KIND is FULL, full tensors on every rank; RANK0, full tensors on rank 0 only: get with cpu_offload, set with
// broadcast_from_rank0; or SHARDED. OPERATION is get_model_state_dict, set_model_state_dict, get_optimizer_state_dict
// or set_optimizer_state_dict. The bytes are those of the parameters, or of the optimizer's two moments for each: of
// the whole model for FULL and RANK0, of a rank's shard for SHARDED. SIZE is that of the parameters.
#include "contract/dsd.h"

#include <optional>

#include "bench/rank_benchmarks.h"

namespace shardcts::bench {
namespace {

StateDictOptions ToGet(Kind kind) {
  StateDictOptions options;
  options.full_state_dict = kind != Kind::kSharded;
  options.cpu_offload = kind == Kind::kRank0;
  return options;
}

StateDictOptions ToSet(Kind kind) {
  StateDictOptions options;
  options.full_state_dict = kind != Kind::kSharded;
  options.broadcast_from_rank0 = kind == Kind::kRank0;
  return options;
}

class FullyShardedModel {
 public:
  // *Collective*, like all below. They throw OperationFailed. Each layer is a group of its own.
  FullyShardedModel(Measured& implementation, int64_t mebibytes, Units)
      : implementation_(implementation), model_(BuildLayers(implementation, mebibytes)) {
    for (int64_t layer = 0; layer < kLayers; ++layer) model_.FullyShard(std::to_string(layer));
    model_.FullyShard("");
  }
  ~FullyShardedModel() { implementation_.Call("implementation.reset", {}); }
  FullyShardedModel(const FullyShardedModel&) = delete;
  FullyShardedModel& operator=(const FullyShardedModel&) = delete;

  Dict GetModelState(Kind kind) { return GetModelStateDict(model_, ToGet(kind)); }
  void SetModelState(Kind kind, const Dict& state_dict) { SetModelStateDict(model_, state_dict, ToSet(kind)); }

  // Before the first of the two below: Adam with its state. The cases of the model alone need no memory for it.
  void MakeAdam() {
    if (adam_) return;
    adam_ = Subject(implementation_).CreateOptimizer(model_, "adam");
    adam_->InitState();
    adam_->ZeroGrad();
  }
  Dict GetOptimizerState(Kind kind) { return GetOptimizerStateDict(model_, {*adam_}, ToGet(kind)); }
  void SetOptimizerState(Kind kind, const Dict& state_dict) {
    SetOptimizerStateDict(model_, {*adam_}, state_dict, ToSet(kind));
  }

  // The result of get, to be passed to set. SHARDED values are those of model and optimizer themselves.
  CallersState Apart(Kind kind, const Dict& state_dict) {
    return CallersState(kind == Kind::kSharded ? Subject(implementation_).Clone(state_dict).AsDict() : state_dict);
  }

 private:
  Measured& implementation_;
  Model model_;
  std::optional<Optimizer> adam_;
};

using DsdCase = Case<FullyShardedModel>;

DsdCase GetsModel(Kind kind) {
  return CaseOf<FullyShardedModel>(kind, "get_model_state_dict", 1, [kind](FullyShardedModel& model) {
    return Measurement{[&model, kind] { return model.GetModelState(kind); }};
  });
}

DsdCase SetsModel(Kind kind) {
  return CaseOf<FullyShardedModel>(kind, "set_model_state_dict", 1, [kind](FullyShardedModel& model) {
    return Measurement{[&model, kind, saved = model.Apart(kind, model.GetModelState(kind))] {
      model.SetModelState(kind, saved.values);
      return Dict{};
    }};
  });
}

DsdCase GetsOptimizer(Kind kind) {
  return CaseOf<FullyShardedModel>(kind, "get_optimizer_state_dict", kMoments, [kind](FullyShardedModel& model) {
    model.MakeAdam();
    return Measurement{[&model, kind] { return model.GetOptimizerState(kind); }};
  });
}

DsdCase SetsOptimizer(Kind kind) {
  return CaseOf<FullyShardedModel>(kind, "set_optimizer_state_dict", kMoments, [kind](FullyShardedModel& model) {
    model.MakeAdam();
    return Measurement{[&model, kind, saved = model.Apart(kind, model.GetOptimizerState(kind))] {
      model.SetOptimizerState(kind, saved.values);
      return Dict{};
    }};
  });
}

std::vector<DsdCase> Cases() {
  std::vector<DsdCase> cases;
  for (const Kind kind : kKinds) cases.insert(cases.end(), {GetsModel(kind), SetsModel(kind)});
  for (const Kind kind : kKinds) cases.insert(cases.end(), {GetsOptimizer(kind), SetsOptimizer(kind)});
  return cases;
}

}  // namespace
}  // namespace shardcts::bench

int main(int argc, char** argv) {
  return shardcts::bench::RunOnRanks(
      argc, argv,
      {"dsd_bench",
       "Gets and sets state dicts of models under fully_shard and of their Adam, beside a memcpy of the same bytes.",
       "of the parameters, or of Adam's two moments: FULL and RANK0 of the whole model, SHARDED of a shard"},
      shardcts::bench::Cases());
}
