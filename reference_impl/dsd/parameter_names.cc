#include "dsd/parameter_names.h"

#include "fsdp_optim/model_parameters.h"
#include "fully_shard/fsdp_state.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {

void RegisterSharded(models::Module& model) {
  for (const auto& [path, module] : models::NamedModules(model)) {
    const FsdpState* state = FsdpState::Find(*module);
    if (state && state->group()) state->group()->Reshard();
  }
}

ParameterNames::ParameterNames(models::Module& model) {
  if (FsdpUnits(model).empty()) {
    AddPlain(model);
  } else {
    AddUnits(model);
  }
}

void ParameterNames::AddUnits(models::Module& model) {
  const ModelParameters parameters(model);
  for (const ModelParameter& parameter : parameters.all()) {
    by_object_[parameter.object.get()] = all_.size();
    all_.push_back({parameter.object, {parameter.fqns, false}});
  }
}

void ParameterNames::AddPlain(models::Module& model) {
  for (const auto& [name, parameter] : models::NamedParameters(model, /*remove_duplicate=*/false)) {
    const auto [known, is_new] = by_object_.emplace(parameter.get(), all_.size());
    if (is_new) all_.push_back({parameter, {}});
    NamesOfParameter& names = all_[known->second].second;
    names.fqns.push_back(name);
    names.is_tied = !is_new;
  }
}

const NamesOfParameter& ParameterNames::Of(const models::Parameter& parameter) const {
  const auto found = by_object_.find(&parameter);
  if (found == by_object_.end()) {
    throw SemanticError("KeyError", "an optimizer has a parameter that is none of the model's");
  }
  return all_[found->second].second;
}

std::set<std::string> ParameterNames::All() const {
  std::set<std::string> all;
  for (const auto& [parameter, names] : all_) all.insert(names.fqns.begin(), names.fqns.end());
  return all;
}

std::vector<std::string> ParameterNames::Frozen() const {
  std::vector<std::string> frozen;
  for (const auto& [parameter, names] : all_) {
    if (parameter->value.requires_grad()) continue;
    frozen.insert(frozen.end(), names.fqns.begin(), names.fqns.end());
  }
  return frozen;
}

}  // namespace shardcts::reference
