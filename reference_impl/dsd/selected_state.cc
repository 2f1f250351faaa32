#include "dsd/selected_state.h"

#include <algorithm>

#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

bool IsId(const Value& value) { return value.type() == Value::Type::kInt; }

class Selection {
 public:
  Selection(const Dict& state_dict, const ParameterNames& names, bool strict)
      : state_(EntryOf(state_dict, "state").AsDict()), groups_(EntryOf(state_dict, "param_groups").AsList()),
        names_(names), strict_(strict && !state_.empty()) {}

  // The group of the result for a group of the optimizer; adds the state of its parameters to `state`.
  Dict Select(const OptimizerGroup& group, size_t num_groups, Dict& state) const {
    List params;
    const Dict* saved = group.parameters.empty() ? &TheEmptyGroup(num_groups) : nullptr;
    for (const models::ParameterPtr& parameter : group.parameters) {
      for (const std::string& name : SavedNames(names_.Of(*parameter))) {
        params.push_back(name);
        if (const Dict* found = GroupWith(name)) saved = found;
        if (parameter->value.requires_grad()) SelectState(name, state);
      }
    }
    Dict selected = saved ? *saved : group.options;
    selected.Set("params", std::move(params));
    return selected;
  }

 private:
  void SelectState(const std::string& name, Dict& state) const {
    if (const Value* found = state_.Find(name)) {
      state.Set(name, *found);
    } else if (strict_) {
      ThrowMissingState(name);
    }
  }

  std::vector<std::string> SavedNames(const NamesOfParameter& names) const {
    if (!names.is_tied) return names.fqns;
    std::vector<std::string> saved;
    std::ranges::copy_if(names.fqns, std::back_inserter(saved), [&](const std::string& name) { return GroupWith(name); });
    return saved;
  }

  // nullptr: no saved group has this parameter.
  const Dict* GroupWith(const std::string& name) const {
    for (const Value& group : groups_) {
      const List& params = EntryOf(group.AsDict(), "params").AsList();
      const bool has_it = std::ranges::any_of(params, [&](const Value& param) {
        const auto* text = param.TryAs<std::string>();
        return text && *text == name;
      });
      if (has_it) return &group.AsDict();
    }
    return nullptr;
  }

  const Dict& TheEmptyGroup(size_t num_groups) const {
    std::vector<const Dict*> empty;
    for (const Value& group : groups_) {
      if (EntryOf(group.AsDict(), "params").AsList().empty()) empty.push_back(&group.AsDict());
    }
    if (empty.size() != 1) {
      throw SemanticError("ValueError", "There are param groups that have zero parameters: exactly one loaded group "
                                        "without parameters can be paired, not " + std::to_string(empty.size()) + ".");
    }
    if (groups_.size() != num_groups) {
      throw SemanticError("ValueError",
                          "When there is a parameter group that has zero parameters, multiple optimizers are not "
                          "supported.");
    }
    return *empty.front();
  }

  const Dict& state_;
  const List& groups_;
  const ParameterNames& names_;
  bool strict_;
};

}  // namespace

bool IsKeyedByIds(const Dict& state_dict) {
  for (const auto& [key, state] : EntryOf(state_dict, "state").AsDict()) {
    if (!std::holds_alternative<int64_t>(key)) return false;
  }
  for (const Value& group : EntryOf(state_dict, "param_groups").AsList()) {
    if (!std::ranges::all_of(EntryOf(group.AsDict(), "params").AsList(), IsId)) return false;
  }
  return true;
}

Dict SelectedState(const Dict& state_dict, const Optimizer& optimizer, const ParameterNames& names, bool strict) {
  const Selection selection(state_dict, names, strict);
  Dict state;
  List groups;
  for (const OptimizerGroup& group : optimizer.groups()) {
    groups.push_back(selection.Select(group, optimizer.groups().size(), state));
  }
  return Dict{{"state", std::move(state)}, {"param_groups", std::move(groups)}};
}

void ThrowMissingState(const std::string& name) {
  throw SemanticError("RuntimeError", "Missing optimizer state for parameter '" + name +
                                          "' in checkpoint: it requires gradients. StateDictOptions(strict=False) "
                                          "loads the rest.");
}

}  // namespace shardcts::reference
