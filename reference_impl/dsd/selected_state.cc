#include "dsd/selected_state.h"

#include <algorithm>
#include <map>

#include "contract/compare.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

bool IsId(const Value& value) { return value.type() == Value::Type::kInt; }

class Selection {
 public:
  Selection(const Dict& state_dict, const Optimizer& optimizer, const ParameterNames& names,
            SavedEmptyGroups& empty_groups, bool strict)
      : optimizer_(optimizer), state_(EntryOf(state_dict, "state").AsDict()), groups_(EntryOf(state_dict, "param_groups").AsList()),
        names_(names), empty_groups_(empty_groups), strict_(strict), strict_state_(strict && !state_.empty()) {}

  // The group of the result for a group of the optimizer; adds the state of its parameters to `state`.
  Dict Select(const OptimizerGroup& group, Dict& state) const {
    List params;
    std::map<size_t, std::string> holders;  // saved groups with a parameter of this one, and its name
    for (const models::ParameterPtr& parameter : group.parameters) {
      for (const std::string& name : SavedNames(names_.Of(*parameter))) {
        params.push_back(name);
        if (const std::optional<size_t> found = GroupWith(name)) holders.emplace(*found, name);
        SelectState(name, *parameter, group.options, state);
      }
    }
    std::optional<Dict> saved;
    if (group.parameters.empty()) saved = empty_groups_.TakeFor(group.options);
    for (const auto& [index, name] : holders) {
      const Dict& options = groups_.at(index).AsDict();
      if (saved && strict_) RequireSameOptions(*saved, options, name);
      if (!saved) saved.emplace();
      for (const auto& [option, value] : options) saved->Set(option, value);
    }
    Dict selected = saved.value_or(group.options);
    selected.Set("params", std::move(params));
    return selected;
  }

 private:
  void SelectState(const std::string& name, const models::Parameter& parameter, const Dict& options, Dict& state) const {
    if (const Value* found = state_.Find(name)) {
      state.Set(name, *found);
      return;
    }
    const bool needs_state = strict_state_ && parameter.value.requires_grad();
    if (needs_state && !optimizer_.ExampleState(parameter, options).empty()) ThrowMissingState(name);
  }

  std::vector<std::string> SavedNames(const NamesOfParameter& names) const {
    if (!names.is_tied) return names.fqns;
    std::vector<std::string> saved;
    std::ranges::copy_if(names.fqns, std::back_inserter(saved),
                         [&](const std::string& name) { return GroupWith(name).has_value(); });
    return saved.empty() ? std::vector{names.fqns.front()} : saved;
  }

  // nullopt: no saved group has this parameter.
  std::optional<size_t> GroupWith(const std::string& name) const {
    for (size_t i = 0; i < groups_.size(); ++i) {
      const List& params = EntryOf(groups_[i].AsDict(), "params").AsList();
      const bool has_it = std::ranges::any_of(params, [&](const Value& param) {
        const auto* text = param.TryAs<std::string>();
        return text && *text == name;
      });
      if (has_it) return i;
    }
    return std::nullopt;
  }

  const Optimizer& optimizer_;
  const Dict& state_;
  const List& groups_;
  const ParameterNames& names_;
  SavedEmptyGroups& empty_groups_;
  const bool strict_;
  const bool strict_state_;  // state of every parameter must be there, unless the optimizer keeps none
};

}  // namespace

void RequireSameOptions(const Dict& first, const Dict& second, const std::string& name) {
  for (const auto& [option, value] : first) {
    if (option == Key("params")) continue;
    const Value* other = second.Find(option);
    if (other && Compare(value, *other).Equal()) continue;
    throw SemanticError("RuntimeError", "The saved groups of one parameter group disagree about '" + ToString(option) +
                                            "': " + ToString(value) + ", and " +
                                            (other ? ToString(*other) : "none") + " of parameter '" + name +
                                            "'. StateDictOptions(strict=False) takes the last.");
  }
}

bool IsKeyedByIds(const Dict& state_dict) {
  for (const auto& [key, state] : EntryOf(state_dict, "state").AsDict()) {
    if (!std::holds_alternative<int64_t>(key)) return false;
  }
  for (const Value& group : EntryOf(state_dict, "param_groups").AsList()) {
    if (!std::ranges::all_of(EntryOf(group.AsDict(), "params").AsList(), IsId)) return false;
  }
  return true;
}

SavedEmptyGroups::SavedEmptyGroups(const List& saved) {
  for (const Value& group : saved) {
    const Value* params = group.AsDict().Find("params");
    if (!params || params->AsList().empty()) groups_.push_back(group.AsDict());
  }
}

std::optional<Dict> SavedEmptyGroups::TakeFor(const Dict& own) {
  if (groups_.empty()) return std::nullopt;
  const auto has_all = [&](const Dict& group) {
    return std::ranges::all_of(own, [&](const Dict::Entry& option) { return group.Contains(option.key); });
  };
  auto found = std::ranges::find_if(groups_, has_all);
  if (found == groups_.end()) found = groups_.begin();
  Dict taken = std::move(*found);
  groups_.erase(found);
  return taken;
}

size_t CountEmptyGroups(const std::vector<Optimizer*>& optimizers) {
  size_t count = 0;
  for (const Optimizer* optimizer : optimizers) {
    for (const OptimizerGroup& group : optimizer->groups()) count += group.parameters.empty() ? 1 : 0;
  }
  return count;
}

Dict SelectedState(const Dict& state_dict, const Optimizer& optimizer, const ParameterNames& names,
                   SavedEmptyGroups& empty_groups, bool strict) {
  const Selection selection(state_dict, optimizer, names, empty_groups, strict);
  Dict state;
  List groups;
  for (const OptimizerGroup& group : optimizer.groups()) groups.push_back(selection.Select(group, state));
  return Dict{{"state", std::move(state)}, {"param_groups", std::move(groups)}};
}

void ThrowMissingState(const std::string& name) {
  throw SemanticError("RuntimeError", "Missing optimizer state for parameter '" + name +
                                          "' in checkpoint: it requires gradients. StateDictOptions(strict=False) "
                                          "loads the rest.");
}

}  // namespace shardcts::reference
