// Optimizer: parameters in groups, each group with its hyper-parameters, and the state that the update rule keeps.
// Everything here is *Local*: a sharded parameter is stepped shard by shard. Semantics: torch.optim.Optimizer, torch
// 2.13.
//
// A state dict, as PyTorch's:
//
//   {state: {id: {state name: value}}, param_groups: [{hyper-parameters…, params: [id]}]}
//
// The id of a parameter is its position over all groups. A parameter that was never stepped has no entry.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "contract/value.h"
#include "models/module.h"
#include "optim/update_rule.h"

namespace shardcts::reference {

struct OptimizerGroup {
  std::vector<models::ParameterPtr> parameters;
  Dict options;  // by PyTorch's names; an absent one has the rule's default
};

class Optimizer {
 public:
  // ValueError: no groups; a parameter twice.
  Optimizer(std::unique_ptr<UpdateRule> rule, std::vector<OptimizerGroup> groups);
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  // Updates every parameter that has a gradient, in place.
  void Step();
  // Drops the gradients of all parameters.
  void ZeroGrad();
  // Gives every trainable parameter a gradient of zeros and steps once, so that each has state.
  void InitState();

  const std::vector<OptimizerGroup>& groups() const { return groups_; }
  // A hyper-parameter of a group, or an entry that other code (learning-rate schedules) keeps there.
  void SetOption(size_t group, const std::string& name, Value value);
  // nullptr: the parameter has no state, or is not one of this optimizer's.
  const Dict* FindState(const models::Parameter& parameter) const;

  // The tensors share storage with the optimizer's.
  virtual Dict StateDict() const;
  // Groups and parameters are matched by position. Tensors other than "step" are converted to the parameter's dtype and
  // device; they share storage if no conversion is needed. Entries of `state` that belong to no parameter are kept
  // under their key. ValueError: another number of groups, or of parameters in one. KeyError: no state or param_groups.
  virtual void LoadStateDict(const Dict& state_dict);

 protected:
  std::vector<OptimizerGroup> groups_;
  Dict state_;  // by id: {state name: value}

 private:
  void StepOne(int64_t id, const at::Tensor& value, const Dict& options);
  void LoadGroups(const List& groups);
  void LoadState(const Dict& state, const List& groups);

  std::unique_ptr<UpdateRule> rule_;
};

// Parameters of all groups, in the order of their ids.
std::vector<models::ParameterPtr> ParametersById(const Optimizer& optimizer);

// One group of these parameters.
std::unique_ptr<Optimizer> MakeSgd(std::vector<models::ParameterPtr> parameters, const SgdOptions& options);
std::unique_ptr<Optimizer> MakeAdam(std::vector<models::ParameterPtr> parameters, const AdamOptions& options);

// The entry of a state dict under this key. KeyError: there is none.
const Value& EntryOf(const Dict& state_dict, const char* key);

}  // namespace shardcts::reference
