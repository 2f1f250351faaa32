#include "fsdp_optim/model_parameters.h"

#include "parameter/dtensor_parameter.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {

std::vector<int64_t> ModelParameter::ShapeOf(size_t i) const {
  if (unit) return unit->flat().shape(unit->flat().options().use_orig_params ? member : i);
  const DTensorDistribution* distribution = FindDistribution(*object);
  return distribution ? distribution->shape : object->value.sizes().vec();
}

ModelParameters::ModelParameters(models::Module& model) {
  CollectUnits(model);
  for (const auto& [name, object] : models::NamedParameters(model)) {
    by_object_[object.get()] = parameters_.size();
    parameters_.push_back(Described(name, object));
    for (const std::string& fqn : parameters_.back().fqns) by_fqn_[fqn] = parameters_.size() - 1;
  }
}

void ModelParameters::CollectUnits(models::Module& model) {
  bool any = false;
  for (const auto& [path, module] : models::NamedModules(model)) {
    auto* unit = dynamic_cast<FsdpModule*>(module);
    if (!unit) continue;
    if (any && unit->options().use_orig_params != use_orig_params_) {
      throw SemanticError("AssertionError", "Not all FSDP modules have the same _use_orig_params value");
    }
    any = true;
    use_orig_params_ = unit->options().use_orig_params;
    unit->LazyInit();
    if (unit->is_summoned() || unit->is_computing()) {
      throw SemanticError("AssertionError", "Expects the handle training to be IDLE");
    }
    if (!unit->flat()) continue;
    auto members = std::make_unique<UnitMembers>();
    members->unit = unit;
    for (const FlatParameter::Slot& slot : unit->flat()->primary_slots()) {
      members->fqns.push_back(models::JoinName(path, slot.fqn));
    }
    units_.push_back(std::move(members));
  }
  if (!any) throw SemanticError("IndexError", "list index out of range");
}

ModelParameter ModelParameters::Described(const std::string& name, const models::ParameterPtr& object) const {
  for (const auto& unit : units_) {
    if (unit->flat().flat_object() == object) return {object, name, unit->fqns, unit.get()};
    for (size_t i = 0; use_orig_params_ && i < unit->fqns.size(); ++i) {
      if (unit->flat().slice(i) == object) return {object, name, {unit->fqns[i]}, unit.get(), i};
    }
  }
  return {object, name, {name}};
}

const ModelParameter* ModelParameters::Find(const models::Parameter& object) const {
  const auto found = by_object_.find(&object);
  return found == by_object_.end() ? nullptr : &parameters_[found->second];
}

const ModelParameter* ModelParameters::WithFqn(const std::string& fqn) const {
  const auto found = by_fqn_.find(fqn);
  return found == by_fqn_.end() ? nullptr : &parameters_[found->second];
}

}  // namespace shardcts::reference
