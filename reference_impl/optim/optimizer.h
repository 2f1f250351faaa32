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
  // How often Step was called, also by InitState.
  int64_t steps() const { return steps_; }
  // Drops the gradients of all parameters.
  void ZeroGrad();
  // Gives every trainable parameter a gradient of zeros and steps once, so that each has state.
  void InitState();

  const std::vector<OptimizerGroup>& groups() const { return groups_; }
  // A hyper-parameter of a group, or an entry that other code (learning-rate schedules) keeps there.
  void SetOption(size_t group, const std::string& name, Value value);
  // Whether the update rule knows the hyper-parameter; other entries of groups are kept for other code.
  bool HasDefault(const Key& option) const { return rule_->defaults().Contains(option); }
  // nullptr: the parameter has no state, or is not one of this optimizer's.
  const Dict* FindState(const models::Parameter& parameter) const;

  // The state of a parameter of this optimizer as after one step with a zero gradient that changes nothing (learning
  // rate and weight decay 0): step 1, moments 0; {} if the rule keeps none. Of integers and bools, which
  // never have gradients, what the optimizer makes at its creation. The optimizer does not change.
  Dict StateAtRest(const models::Parameter& parameter) const;
  // The state that the rule would make for a parameter of ExampleShape, which shows what of a parameter's state has the
  // parameter's shape, at every depth; with these options over those of its group. {}: it is not one of this
  // optimizer's, or the rule keeps none.
  Dict ExampleState(const models::Parameter& parameter, const Dict& options = {}) const;
  // The same with all that its kind can keep, whatever the options of the group are.
  Dict LargestExampleState(const models::Parameter& parameter) const;

  // Under which key StateDict has the state of the parameter with this id.
  virtual Key StateKey(int64_t id) const { return id; }

  // The tensors share storage with the optimizer's.
  Dict StateDict() const { return Packed(state_); }
  // The same, with StateAtRest of each trainable parameter that has no state. The optimizer does not change.
  Dict CompleteStateDict() const { return Packed(CompleteState()); }
  // By id: {state name: value}.
  Dict CompleteState() const;
  // Groups and parameters are matched by position. Tensors other than "step" are converted to the parameter's dtype and
  // device; they share storage if no conversion is needed. Entries of `state` that belong to no parameter are kept
  // under their key. ValueError: another number of groups, or of parameters in one. KeyError: no state or param_groups.
  virtual void LoadStateDict(const Dict& state_dict);
  // The errors of LoadStateDict, before anything has changed.
  virtual void CheckLoad(const Dict& state_dict) const;

 protected:
  // The state dict with this state, which is by id.
  virtual Dict Packed(const Dict& state) const;

  std::vector<OptimizerGroup> groups_;
  Dict state_;  // by id: {state name: value}

 private:
  Dict StateAtRest(const at::Tensor& value, const OptimizerGroup& group) const;
  Dict ExampleOf(const models::Parameter& parameter, const OptimizerGroup& group) const;
  const OptimizerGroup* GroupOf(const models::Parameter& parameter) const;
  void StepOne(int64_t id, const at::Tensor& value, const Dict& options);
  void LoadGroups(const List& groups);
  Dict LoadedState(const Dict& state, const List& groups) const;

  std::unique_ptr<UpdateRule> rule_;
  int64_t steps_ = 0;
};

// All sizes differ, and state of a shape of its own does not have them.
std::vector<int64_t> ExampleShape(int64_t dims);

// Parameters of all groups, in the order of their ids.
std::vector<models::ParameterPtr> ParametersById(const Optimizer& optimizer);

// One group of these parameters.
std::unique_ptr<Optimizer> MakeSgd(std::vector<models::ParameterPtr> parameters, const SgdOptions& options);
std::unique_ptr<Optimizer> MakeAdam(std::vector<models::ParameterPtr> parameters, const AdamOptions& options);

// The entry of a state dict under this key. KeyError: there is none.
const Value& EntryOf(const Dict& state_dict, const char* key);

}  // namespace shardcts::reference
