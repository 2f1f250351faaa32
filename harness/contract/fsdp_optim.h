// The façade of FSDP1's optimizer state: state dicts by original parameter names (FQNs), and back into the layout of
// one rank's optimizer.
//
// As in facade.h, every function is one operation of the table (docs/contract.md), which gives its semantics and says
// whether it is *Collective*. It throws OperationFailed when the implementation returns an error.
//
// A saved state dict is {state: {FQN: {state name: value}}, param_groups: list of dict}. A state dict to be loaded has
// this rank's ids or names instead of FQNs.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "contract/fsdp.h"

namespace shardcts {

// Tells an implementation which parameter has which id. Without both fields: one group of all parameters in the model's
// order.
struct OptimizerLayout {
  const Optimizer* optimizer = nullptr;
  std::optional<List> optim_input;          // deprecated; see OptimInput
  std::vector<Warning>* warnings = nullptr;  // the warnings of the call are appended
};

// The parameters that an optimizer was created with, in the form of the deprecated argument `optim_input`.
List OptimInput(const std::vector<std::string>& parameters);
List OptimInput(const std::vector<ParameterGroup>& groups);

struct OptimStateDictOptions {
  std::optional<Dict> state_dict;  // absent: the optimizer's current one
  std::optional<ProcessGroup> group;
};
Dict OptimStateDict(const Model& model, const Optimizer& optimizer, const OptimStateDictOptions& options = {});

struct OptimLoadOptions {
  bool is_named_optimizer = false;
  bool load_directly = false;
  std::optional<ProcessGroup> group;
};
Dict OptimStateDictToLoad(const Model& model, const Optimizer& optimizer, const Dict& saved,
                          const OptimLoadOptions& options = {});

// The deprecated functions.
struct FullOptimOptions {
  std::optional<List> optim_input;
  bool rank0_only = true;
  std::optional<ProcessGroup> group;
  std::vector<Warning>* warnings = nullptr;  // the warnings of the call are appended
};
Dict FullOptimStateDict(const Model& model, const Optimizer& optimizer, const FullOptimOptions& options = {});
Dict ShardedOptimStateDict(const Model& model, const Optimizer& optimizer,
                           const std::optional<ProcessGroup>& group = {});
Dict ShardFullOptimStateDict(const Dict& saved, const Model& model, const OptimizerLayout& layout = {});
// `saved` is read on the group's first rank only.
Dict ScatterFullOptimStateDict(const std::optional<Dict>& saved, const Model& model, const OptimizerLayout& layout = {},
                               const std::optional<ProcessGroup>& group = {});
Dict FlattenShardedOptimStateDict(const Dict& saved, const Model& model, const Optimizer& optimizer);

enum class OptimStateKeyType { kParamName, kParamId };
Dict RekeyOptimStateDict(const Dict& state_dict, OptimStateKeyType key_type, const Model& model,
                         const OptimizerLayout& layout = {});

}  // namespace shardcts
