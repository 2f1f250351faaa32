// ParameterNames: the parameter objects of a model with their FQNs, which are their names without any wrapper.
// Everything here is *Local*. Semantics: fqn_param_mapping and shared_params_mapping in
// torch/distributed/checkpoint/state_dict.py, torch 2.13.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "models/module.h"

namespace shardcts::reference {

struct NamesOfParameter {
  std::vector<std::string> fqns;  // in order; of a flat parameter (FSDP1) those of its members, of a tied one all
  bool is_tied = false;           // the names are of the same parameter; an optimizer's state dict has one of them
};

// *Local*. Registers the sharded form of every parameter below that fully_shard has unsharded: an optimizer knows no
// other. As a state dict of the model does.
void RegisterSharded(models::Module& model);

class ParameterNames {
 public:
  // Initializes FSDP1's units lazily.
  explicit ParameterNames(models::Module& model);

  // KeyError: the object is not a parameter of the model.
  const NamesOfParameter& Of(const models::Parameter& parameter) const;
  std::set<std::string> All() const;
  // The names of all parameters that do not require gradients.
  std::vector<std::string> Frozen() const;

 private:
  void AddUnits(models::Module& model);
  void AddPlain(models::Module& model);

  std::vector<std::pair<models::ParameterPtr, NamesOfParameter>> all_;
  std::map<const models::Parameter*, size_t> by_object_;
};

}  // namespace shardcts::reference
