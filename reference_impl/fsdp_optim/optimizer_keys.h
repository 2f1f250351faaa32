// OptimizerKeys: the key of each parameter object in the state dicts of an optimizer. Everything here is *Local*.
// Semantics: _get_param_key_to_param and _get_param_id_to_param_from_optim_input in
// torch/distributed/fsdp/_optim_utils.py, torch 2.13.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "optim/optimizer.h"

namespace shardcts::reference {

class OptimizerKeys {
 public:
  // Ids by position.
  static OptimizerKeys Ids(const std::vector<models::ParameterPtr>& parameters);
  // The names of the optimizer's parameters in `model`. KeyError: the model lacks one.
  static OptimizerKeys Names(const Optimizer& optimizer, models::Module& model);

  // In the optimizer's order.
  const std::vector<std::pair<Key, models::ParameterPtr>>& all() const { return all_; }
  // nullptr: no parameter has this key.
  models::ParameterPtr Find(const Key& key) const;
  std::optional<Key> KeyOf(const models::Parameter& parameter) const;

 private:
  void Add(Key key, const models::ParameterPtr& parameter);

  std::vector<std::pair<Key, models::ParameterPtr>> all_;
  std::map<Key, models::ParameterPtr> by_key_;
  std::map<const models::Parameter*, Key> by_parameter_;
};

// The optimizer that a state dict belongs to: the optimizer itself, or the parameters that it was created with, in
// order. Without both: an optimizer over all parameters of the model.
struct OptimizerInput {
  const Optimizer* optimizer = nullptr;
  std::optional<std::vector<models::ParameterPtr>> parameters;  // takes precedence
};
// `named`: names instead of ids, if the optimizer itself is given. ValueError: an empty list of parameters.
OptimizerKeys KeysOf(const OptimizerInput& input, models::Module& model, bool named);

// Entries of `params`, or keys of `state`, as keys: ints and strings. TypeError: something else.
Key KeyFrom(const Value& value);
Value ValueOf(const Key& key);
// As Python writes it: 3, 'name'.
std::string Quoted(const Key& key);

}  // namespace shardcts::reference
