#include "fsdp_optim/optimizer_keys.h"

#include "tensor/semantic_error.h"

namespace shardcts::reference {

void OptimizerKeys::Add(Key key, const models::ParameterPtr& parameter) {
  all_.emplace_back(key, parameter);
  by_key_[key] = parameter;
  by_parameter_[parameter.get()] = std::move(key);
}

OptimizerKeys OptimizerKeys::Ids(const std::vector<models::ParameterPtr>& parameters) {
  OptimizerKeys keys;
  for (const models::ParameterPtr& parameter : parameters) keys.Add(static_cast<int64_t>(keys.all_.size()), parameter);
  return keys;
}

OptimizerKeys OptimizerKeys::Names(const Optimizer& optimizer, models::Module& model) {
  std::map<const models::Parameter*, std::string> names;
  for (const auto& [name, parameter] : models::NamedParameters(model)) names[parameter.get()] = name;
  OptimizerKeys keys;
  for (const models::ParameterPtr& parameter : ParametersById(optimizer)) {
    const auto name = names.find(parameter.get());
    if (name == names.end()) throw SemanticError("KeyError", "the model does not have a parameter of the optimizer");
    keys.Add(name->second, parameter);
  }
  return keys;
}

models::ParameterPtr OptimizerKeys::Find(const Key& key) const {
  const auto found = by_key_.find(key);
  return found == by_key_.end() ? nullptr : found->second;
}

std::optional<Key> OptimizerKeys::KeyOf(const models::Parameter& parameter) const {
  const auto found = by_parameter_.find(&parameter);
  return found == by_parameter_.end() ? std::nullopt : std::optional(found->second);
}

OptimizerKeys KeysOf(const OptimizerInput& input, models::Module& model, bool named) {
  if (input.parameters) {
    if (input.parameters->empty()) throw SemanticError("ValueError", "Optimizer input should not be empty");
    return OptimizerKeys::Ids(*input.parameters);
  }
  if (input.optimizer) {
    return named ? OptimizerKeys::Names(*input.optimizer, model) : OptimizerKeys::Ids(ParametersById(*input.optimizer));
  }
  std::vector<models::ParameterPtr> parameters;
  for (const auto& [name, parameter] : models::NamedParameters(model)) parameters.push_back(parameter);
  return OptimizerKeys::Ids(parameters);
}

Key KeyFrom(const Value& value) {
  if (const auto* name = value.TryAs<std::string>()) return *name;
  return value.AsInt();
}

Value ValueOf(const Key& key) {
  if (const auto* id = std::get_if<int64_t>(&key)) return *id;
  return std::get<std::string>(key);
}

std::string Quoted(const Key& key) {
  return std::holds_alternative<int64_t>(key) ? ToString(key) : "'" + ToString(key) + "'";
}

}  // namespace shardcts::reference
