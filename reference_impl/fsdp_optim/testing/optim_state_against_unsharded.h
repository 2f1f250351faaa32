// For tests of optimizer state: a model in units and its unsharded reference model, each with an Adam optimizer.
#pragma once

#include "fsdp/testing/units_against_unsharded.h"
#include "fsdp_optim/load_optim_state.h"
#include "fsdp_optim/save_optim_state.h"

namespace shardcts::reference {

struct Pair {
  std::shared_ptr<FsdpModule> model;
  models::ModulePtr twin;
  std::unique_ptr<Optimizer> optimizer;
  std::unique_ptr<Optimizer> twin_optimizer;
};

inline std::unique_ptr<Optimizer> AdamOf(models::Module& model) {
  return MakeAdam(ParametersOf(model), {.lr = 0.01, .weight_decay = 0.1});
}

// *Collective*. Both after `steps` steps, each rank on its own data.
inline void Train(Pair& pair, int steps, int64_t width) {
  for (int step = 0; step < steps; ++step) {
    std::vector<at::Tensor> inputs;
    for (int rank = 0; rank < World().size(); ++rank) inputs.push_back(InputOf(rank, step, width));
    StepTwin(*pair.twin, *pair.twin_optimizer, inputs);
    StepSharded(*pair.model, *pair.optimizer, inputs[static_cast<size_t>(World().rank())]);
  }
}

inline Pair TrainedPair(const FsdpOptions& options, int steps = 2) {
  auto [model, twin] = NestedModel(options);
  Pair pair{model, twin, AdamOf(*model), AdamOf(*twin)};
  Train(pair, steps, 3);
  return pair;
}

inline std::vector<std::string> NamesOf(models::Module& twin) {
  std::vector<std::string> names;
  for (const auto& [name, parameter] : models::NamedParameters(twin)) names.push_back(name);
  return names;
}

// The state of the reference model by names.
inline std::map<std::string, Dict> ExpectedState(const Pair& pair) {
  const Dict state_dict = pair.twin_optimizer->StateDict();
  const std::vector<std::string> names = NamesOf(*pair.twin);
  std::map<std::string, Dict> expected;
  for (const auto& [id, state] : state_dict.At("state").AsDict()) {
    expected[names.at(static_cast<size_t>(std::get<int64_t>(id)))] = state.AsDict();
  }
  return expected;
}

inline Dict Save(const Pair& pair, const SaveOptimOptions& options = {}) {
  std::vector<std::string> warnings;
  return SaveOptimState(*pair.model, {pair.optimizer.get(), {}}, pair.optimizer->StateDict(), World(), options, warnings);
}

inline Dict ToLoad(const Pair& pair, const Dict* state_dict, const LoadOptimOptions& options = {}) {
  std::vector<std::string> warnings;
  return OptimStateToLoad(*pair.model, {pair.optimizer.get(), {}}, state_dict, World(), options, warnings);
}

inline const Dict& StateOf(const Dict& state_dict) { return state_dict.At("state").AsDict(); }

// Same state names, tensors equal within `tolerance` (0: bit by bit) and of the same shape.
inline void ExpectSameState(const Dict& actual, const Dict& expected, const std::string& what, double tolerance = 0) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (const auto& [name, value] : expected) {
    ASSERT_TRUE(actual.Contains(name)) << what << " " << ToString(name);
    const at::Tensor tensor = actual.At(name).AsTensor();
    ASSERT_EQ(tensor.sizes(), value.AsTensor().sizes()) << what << " " << ToString(name);
    EXPECT_TRUE(at::allclose(tensor, value.AsTensor(), tolerance, tolerance)) << what << " " << ToString(name);
  }
}

}  // namespace shardcts::reference
