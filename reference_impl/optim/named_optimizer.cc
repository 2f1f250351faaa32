#include "optim/named_optimizer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>

#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

// Nothing of it shares storage with what was given.
Value Copied(const Value& value) {
  if (const auto* tensor = value.TryAs<Tensor>()) return tensor->data.clone();
  if (const auto* dict = value.TryAs<Dict>()) {
    Dict copied;
    for (const auto& [key, entry] : *dict) copied.Set(key, Copied(entry));
    return copied;
  }
  if (const auto* list = value.TryAs<List>()) {
    List copied;
    for (const Value& entry : *list) copied.push_back(Copied(entry));
    return copied;
  }
  return value;
}

void CopyState(const std::string& name, const Dict& given, Dict& state) {
  if (given.size() != state.size()) {
    throw SemanticError("ValueError", "Expects equal length as " + std::to_string(state.size()) + " for parameter " +
                                          name + " but found: " + std::to_string(given.size()));
  }
  for (auto& [key, value] : state) {
    const Value* from = given.Find(key);
    if (!from) {
      throw SemanticError("ValueError", "Expects state " + ToString(key) + " for parameter " + name + " but not found.");
    }
    if (const auto* into = value.TryAs<Tensor>()) {
      at::Tensor(into->data).copy_(from->AsTensor());
    } else {
      value = Copied(*from);
    }
  }
}

void CopyOptions(const std::string& names, const Dict& given, Dict& options) {
  const size_t expected = options.size() + 1;  // with params
  if (given.size() != expected) {
    throw SemanticError("ValueError", "Expects equal param_group size as " + std::to_string(expected) + " for group " +
                                          names + " but found " + std::to_string(given.size()) + ".");
  }
  for (const auto& [key, value] : given) {
    if (key == Key("params")) continue;
    Value* option = options.Find(key);
    if (!option) {
      throw SemanticError("ValueError", "Expects group key " + ToString(key) + " to be in group " + names +
                                            " in `state_dict` but is missing.");
    }
    *option = Copied(value);
  }
}

// What distinguishes groups.
std::string JoinedSorted(std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  std::string joined;
  for (const std::string& name : names) joined += (joined.empty() ? "" : "/") + name;
  return joined;
}

}  // namespace

NamedOptimizer::NamedOptimizer(std::unique_ptr<UpdateRule> rule, std::vector<OptimizerGroup> groups,
                               std::vector<std::string> names)
    : Optimizer(std::move(rule), std::move(groups)), names_(std::move(names)) {}

std::vector<std::vector<std::string>> NamedOptimizer::NamesByGroup() const {
  std::vector<std::vector<std::string>> by_group;
  auto next = names_.begin();
  for (const OptimizerGroup& group : groups_) {
    const auto end = next + static_cast<std::ptrdiff_t>(group.parameters.size());
    by_group.emplace_back(next, end);
    next = end;
  }
  return by_group;
}

Dict NamedOptimizer::Packed(const Dict& by_id) const {
  Dict state;
  for (const auto& [key, value] : by_id) {
    const auto* id = std::get_if<int64_t>(&key);
    state.Set(id ? Key(names_.at(static_cast<size_t>(*id))) : key, value);
  }
  const std::vector<std::vector<std::string>> names = NamesByGroup();
  List groups;
  for (size_t i = 0; i < groups_.size(); ++i) {
    std::vector<std::string> sorted = names[i];
    std::sort(sorted.begin(), sorted.end());
    Dict packed{{"params", ToValue(sorted)}};
    for (const auto& [name, value] : groups_[i].options) packed.Set(name, value);
    groups.push_back(std::move(packed));
  }
  return Dict{{"state", std::move(state)}, {"param_groups", std::move(groups)}};
}

void NamedOptimizer::LoadStateDict(const Dict& state_dict) {
  at::NoGradGuard no_grad;
  const Dict& given = EntryOf(state_dict, "state").AsDict();
  if (state_.empty()) {
    throw SemanticError("ValueError", "Expects the optim to be initialized before load but found not initialized.");
  }
  for (size_t id = 0; id < names_.size(); ++id) {
    const Value* entry = given.Find(names_[id]);
    if (!entry) continue;
    Value* state = state_.Find(static_cast<int64_t>(id));
    if (!state) throw SemanticError("KeyError", std::to_string(id));
    CopyState(names_[id], entry->AsDict(), state->AsDict());
  }
  std::map<std::string, const Dict*> given_groups;
  for (const Value& group : EntryOf(state_dict, "param_groups").AsList()) {
    given_groups[JoinedSorted(EntryOf(group.AsDict(), "params").AsStrings())] = &group.AsDict();
  }
  const std::vector<std::vector<std::string>> names = NamesByGroup();
  for (size_t i = 0; i < groups_.size(); ++i) {
    const auto found = given_groups.find(JoinedSorted(names[i]));
    if (found != given_groups.end()) CopyOptions(found->first, *found->second, groups_[i].options);
  }
}

}  // namespace shardcts::reference
