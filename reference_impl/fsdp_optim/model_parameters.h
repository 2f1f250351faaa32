// ModelParameters: the parameter objects of a model at rest, with the names under which optimizer state is saved.
// Everything here is *Local*. Semantics: _get_param_to_fqns and _get_fqn_to_fsdp_param_info in
// torch/distributed/fsdp/_common_utils.py and _optim_utils.py, torch 2.13.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fsdp/fsdp_module.h"

namespace shardcts::reference {

// A unit with a flat parameter. Its members are the original parameters in flattening order, a tied one once.
struct UnitMembers {
  FsdpModule* unit = nullptr;
  std::vector<std::string> fqns;  // of the members, in the model

  const FlatParameter& flat() const { return *unit->flat(); }
  Communicator& group() const { return *unit->options().shard_group; }
  // Of tensors on the unit's device.
  at::TensorOptions On(at::ScalarType dtype) const { return at::device(unit->options().device).dtype(dtype); }
};

// One parameter object: a unit's flat parameter, with use_orig_params one member of it, or a parameter that no unit
// manages.
struct ModelParameter {
  models::ParameterPtr object;
  std::string name;                   // as NamedParameters gives it
  std::vector<std::string> fqns;      // for a flat parameter those of its members, otherwise one
  const UnitMembers* unit = nullptr;  // nullptr: unmanaged
  size_t member = 0;                  // with use_orig_params

  // The global shape of the parameter that fqns[i] names.
  std::vector<int64_t> ShapeOf(size_t i) const;
};

class ModelParameters {
 public:
  // Initializes the units lazily. IndexError: no units. AssertionError: units that differ in use_orig_params, or are in
  // use.
  explicit ModelParameters(models::Module& model);
  ModelParameters(const ModelParameters&) = delete;
  ModelParameters& operator=(const ModelParameters&) = delete;

  bool use_orig_params() const { return use_orig_params_; }
  const std::vector<std::unique_ptr<UnitMembers>>& units() const { return units_; }
  // In the order of the module tree.
  const std::vector<ModelParameter>& all() const { return parameters_; }
  // nullptr: the object is not a parameter of the model.
  const ModelParameter* Find(const models::Parameter& object) const;
  // nullptr: no parameter of the model has this FQN.
  const ModelParameter* WithFqn(const std::string& fqn) const;

 private:
  void CollectUnits(models::Module& model);
  ModelParameter Described(const std::string& name, const models::ParameterPtr& object) const;

  bool use_orig_params_ = false;
  std::vector<std::unique_ptr<UnitMembers>> units_;
  std::vector<ModelParameter> parameters_;
  std::map<const models::Parameter*, size_t> by_object_;
  std::map<std::string, size_t> by_fqn_;
};

}  // namespace shardcts::reference
