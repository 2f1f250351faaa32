#include "optim/optimizer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <map>
#include <set>

#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

void CheckParameters(const std::vector<OptimizerGroup>& groups) {
  if (groups.empty()) throw SemanticError("ValueError", "optimizer got an empty parameter list");
  std::set<const models::Parameter*> seen;
  for (const OptimizerGroup& group : groups) {
    std::set<const models::Parameter*> here;
    for (const models::ParameterPtr& parameter : group.parameters) here.insert(parameter.get());
    if (here.size() != group.parameters.size()) {
      throw SemanticError("ValueError", "a parameter group names a parameter twice");
    }
    for (const models::Parameter* parameter : here) {
      if (seen.insert(parameter).second) continue;
      throw SemanticError("ValueError", "some parameters appear in more than one parameter group");
    }
  }
}

// Converts a parameter's state: tensors except the step get the parameter's dtype and device.
Value CastLike(const at::Tensor& parameter, const Value& value, const Key& key) {
  if (const auto* tensor = value.TryAs<Tensor>()) {
    if (key == Key("step")) return tensor->data;
    const at::ScalarType dtype =
        parameter.is_floating_point() ? parameter.scalar_type() : tensor->data.scalar_type();
    return tensor->data.to(parameter.device(), dtype);
  }
  if (const auto* distributed = value.TryAs<DTensor>()) {
    DTensor cast = *distributed;
    cast.local = CastLike(parameter, cast.local, key).AsTensor();
    return cast;
  }
  if (const auto* list = value.TryAs<List>()) {
    List cast;
    for (const Value& entry : *list) cast.push_back(CastLike(parameter, entry, ""));
    return cast;
  }
  if (const auto* dict = value.TryAs<Dict>()) {
    Dict cast;
    for (const auto& [name, entry] : *dict) cast.Set(name, CastLike(parameter, entry, name));
    return cast;
  }
  return value;
}

// A group in the form of a state dict: its hyper-parameters, completed by flags that older ones lack.
Dict OptionsFrom(const Dict& saved, const Dict& defaults) {
  Dict options = saved;
  options.Erase("params");
  for (const auto& [name, value] : defaults) {
    const bool is_flag = value.IsNone() || value.type() == Value::Type::kBool;
    if (is_flag && !options.Contains(name)) options.Set(name, value);
  }
  return options;
}

// The ids, or names, of a state dict's groups → those of the optimizer, by position.
std::map<Key, int64_t> IdsIn(const List& groups) {
  std::map<Key, int64_t> ids;
  for (const Value& group : groups) {
    for (const Value& saved : EntryOf(group.AsDict(), "params").AsList()) {
      const auto* name = saved.TryAs<std::string>();
      ids.emplace(name ? Key(*name) : Key(saved.AsInt()), static_cast<int64_t>(ids.size()));
    }
  }
  return ids;
}

}  // namespace

Optimizer::Optimizer(std::unique_ptr<UpdateRule> rule, std::vector<OptimizerGroup> groups)
    : groups_(std::move(groups)), rule_(std::move(rule)) {
  CheckParameters(groups_);
  for (OptimizerGroup& group : groups_) {
    for (const auto& [name, value] : rule_->defaults()) {
      if (!group.options.Contains(name)) group.options.Set(name, value);
    }
  }
  int64_t id = 0;
  for (const OptimizerGroup& group : groups_) {
    for (const models::ParameterPtr& parameter : group.parameters) {
      // By the optimizer's own options, as in PyTorch: a group cannot have others there.
      Dict state = rule_->StateAtCreation(parameter->value.detach(), rule_->defaults());
      if (!state.empty()) state_.Set(id, std::move(state));
      ++id;
    }
  }
}

void Optimizer::Step() {
  ++steps_;
  at::NoGradGuard no_grad;
  int64_t id = 0;
  for (const OptimizerGroup& group : groups_) {
    for (const models::ParameterPtr& parameter : group.parameters) {
      if (parameter->value.grad().defined()) StepOne(id, parameter->value, group.options);
      ++id;
    }
  }
  rule_->UpdateWhole(state_);
}

// A rule without state creates no entry.
void Optimizer::StepOne(int64_t id, const at::Tensor& value, const Dict& options) {
  if (Value* known = state_.Find(id)) return rule_->Update(value, value.grad(), known->AsDict(), options);
  Dict state;
  rule_->Update(value, value.grad(), state, options);
  if (!state.empty()) state_.Set(id, std::move(state));
}

void Optimizer::ZeroGrad() {
  for (const models::ParameterPtr& parameter : ParametersById(*this)) parameter->value.mutable_grad() = at::Tensor();
}

void Optimizer::InitState() {
  for (const models::ParameterPtr& parameter : ParametersById(*this)) {
    if (!parameter->value.requires_grad()) continue;
    parameter->value.mutable_grad() = at::zeros_like(parameter->value.detach());
  }
  Step();
}

void Optimizer::SetOption(size_t group, const std::string& name, Value value) {
  groups_.at(group).options.Set(name, std::move(value));
}

const Dict* Optimizer::FindState(const models::Parameter& parameter) const {
  int64_t id = 0;
  for (const models::ParameterPtr& known : ParametersById(*this)) {
    if (known.get() == &parameter) {
      const Value* state = state_.Find(id);
      return state ? &state->AsDict() : nullptr;
    }
    ++id;
  }
  return nullptr;
}

const OptimizerGroup* Optimizer::GroupOf(const models::Parameter& parameter) const {
  const auto is_it = [&](const models::ParameterPtr& known) { return known.get() == &parameter; };
  const auto has_it = [&](const OptimizerGroup& group) { return std::ranges::any_of(group.parameters, is_it); };
  const auto found = std::ranges::find_if(groups_, has_it);
  return found == groups_.end() ? nullptr : &*found;
}

// The rule steps a copy.
Dict Optimizer::StateAtRest(const at::Tensor& value, const OptimizerGroup& group) const {
  if (!value.is_floating_point() && !value.is_complex()) return rule_->StateAtCreation(value.detach(), rule_->defaults());
  at::NoGradGuard no_grad;
  Dict options = rule_->defaults();  // a load may have left some out
  for (const auto& [name, value] : group.options) options.Set(name, value);
  for (const char* name : {"lr", "weight_decay"}) {
    if (options.Contains(name)) options.Set(name, 0.0);
  }
  if (options.Contains("maximize")) options.Set("maximize", false);  // the gradient would be -0
  const auto state_with = [&](const Dict& used) {
    Dict state;
    rule_->Update(value.detach().clone(), at::zeros_like(value.detach()), state, used);
    return state;
  };
  try {
    return state_with(options);
  } catch (const SemanticError&) {  // a load has made an option useless
    return state_with(rule_->defaults());
  }
}

Dict Optimizer::StateAtRest(const models::Parameter& parameter) const {
  const OptimizerGroup* group = GroupOf(parameter);
  return group ? StateAtRest(parameter.value, *group) : Dict();
}

Dict Optimizer::ExampleState(const models::Parameter& parameter, const Dict& options) const {
  const OptimizerGroup* group = GroupOf(parameter);
  if (!group) return {};
  OptimizerGroup changed = *group;
  for (const auto& [name, value] : options) changed.options.Set(name, value);
  return ExampleOf(parameter, changed);
}

Dict Optimizer::ExampleOf(const models::Parameter& parameter, const OptimizerGroup& group) const {
  return StateAtRest(at::zeros(ExampleShape(parameter.value.dim()), parameter.value.scalar_type()), group);
}

Dict Optimizer::LargestExampleState(const models::Parameter& parameter) const {
  // Of the rule's own options: a load may have made the group's useless.
  const OptimizerGroup largest{.options = {{"amsgrad", true}, {"centered", true}, {"momentum", 0.5}}};
  return GroupOf(parameter) ? ExampleOf(parameter, largest) : Dict();
}

Dict Optimizer::CompleteState() const {
  Dict complete;
  bool lacks = false;
  int64_t id = 0;
  for (const models::ParameterPtr& parameter : ParametersById(*this)) {
    if (const Value* known = state_.Find(id)) {
      complete.Set(id, *known);
    } else if (parameter->value.requires_grad()) {
      Dict state = StateAtRest(*parameter);
      if (!state.empty()) {
        complete.Set(id, std::move(state));
        lacks = true;
      }
    }
    ++id;
  }
  if (!lacks) return state_;  // in its own order
  for (const auto& [key, value] : state_) complete.Set(key, value);
  return complete;
}

Dict Optimizer::Packed(const Dict& state) const {
  List groups;
  int64_t id = 0;
  for (const OptimizerGroup& group : groups_) {
    List ids;
    for (size_t i = 0; i < group.parameters.size(); ++i) ids.push_back(id++);
    Dict packed = group.options;
    packed.Set("params", std::move(ids));
    groups.push_back(std::move(packed));
  }
  return Dict{{"state", state}, {"param_groups", std::move(groups)}};
}

void Optimizer::LoadStateDict(const Dict& state_dict) {
  CheckLoad(state_dict);
  const List& groups = EntryOf(state_dict, "param_groups").AsList();
  state_ = LoadedState(EntryOf(state_dict, "state").AsDict(), groups);
  LoadGroups(groups);
}

void Optimizer::CheckLoad(const Dict& state_dict) const {
  const List& groups = EntryOf(state_dict, "param_groups").AsList();
  if (groups.size() != groups_.size()) {
    throw SemanticError("ValueError", "loaded state dict has a different number of parameter groups");
  }
  for (size_t i = 0; i < groups.size(); ++i) {
    if (EntryOf(groups[i].AsDict(), "params").AsList().size() == groups_[i].parameters.size()) continue;
    throw SemanticError("ValueError",
                        "loaded state dict contains a parameter group that doesn't match the size of optimizer's group");
  }
  const std::map<Key, int64_t> ids = IdsIn(groups);
  for (const auto& [key, given] : EntryOf(state_dict, "state").AsDict()) {
    if (!ids.contains(key)) continue;
    Dict state = given.AsDict();
    rule_->Adopt(state);
  }
}

Dict Optimizer::LoadedState(const Dict& state, const List& groups) const {
  const std::map<Key, int64_t> ids = IdsIn(groups);
  const std::vector<models::ParameterPtr> parameters = ParametersById(*this);
  Dict loaded;
  for (const auto& [key, value] : state) {
    const auto id = ids.find(key);
    if (id == ids.end()) {
      loaded.Set(key, value);
      continue;
    }
    Value cast = CastLike(parameters.at(static_cast<size_t>(id->second))->value, value, "");
    rule_->Adopt(cast.AsDict());
    loaded.Set(id->second, std::move(cast));
  }
  return loaded;
}

void Optimizer::LoadGroups(const List& groups) {
  for (size_t i = 0; i < groups.size(); ++i) {
    groups_[i].options = OptionsFrom(groups[i].AsDict(), rule_->defaults());
  }
}

std::vector<int64_t> ExampleShape(int64_t dims) {
  std::vector<int64_t> shape;
  for (int64_t dim = 0; dim < dims; ++dim) shape.push_back(2 * dim + 13);
  return shape;
}

std::vector<models::ParameterPtr> ParametersById(const Optimizer& optimizer) {
  std::vector<models::ParameterPtr> parameters;
  for (const OptimizerGroup& group : optimizer.groups()) {
    parameters.insert(parameters.end(), group.parameters.begin(), group.parameters.end());
  }
  return parameters;
}

std::unique_ptr<Optimizer> MakeSgd(std::vector<models::ParameterPtr> parameters, const SgdOptions& options) {
  return std::make_unique<Optimizer>(MakeSgdRule(options), std::vector<OptimizerGroup>{{std::move(parameters), {}}});
}

std::unique_ptr<Optimizer> MakeAdam(std::vector<models::ParameterPtr> parameters, const AdamOptions& options) {
  return std::make_unique<Optimizer>(MakeAdamRule(options), std::vector<OptimizerGroup>{{std::move(parameters), {}}});
}

const Value& EntryOf(const Dict& state_dict, const char* key) {
  const Value* entry = state_dict.Find(key);
  if (!entry) throw SemanticError("KeyError", "'" + std::string(key) + "'");
  return *entry;
}

}  // namespace shardcts::reference
