#include "dsd/flattened_state.h"

#include <map>
#include <set>

#include "dsd/flat_key.h"
#include "dsd/selected_state.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

constexpr char kState[] = "state.";
constexpr char kGroups[] = "param_groups.";

bool IsTensorOrNumber(const Value& value) {
  switch (value.type()) {
    case Value::Type::kBool:
    case Value::Type::kInt:
    case Value::Type::kDouble:
    case Value::Type::kTensor:
    case Value::Type::kDTensor:
    case Value::Type::kShardedTensor: return true;
    default: return false;
  }
}

void Flatten(const Dict& nested, const std::string& prefix, Dict& flat) {
  for (const auto& [key, value] : nested) {
    const std::string name = prefix + "." + FlatComponent(key);
    const auto* dict = value.TryAs<Dict>();
    if (dict && !dict->empty()) {
      Flatten(*dict, name, flat);
    } else if (dict || IsTensorOrNumber(value)) {
      flat.Set(name, value);
    } else {
      throw SemanticError("NotImplementedError",
                          "Flattening optimizer state_dict only supports tensor, int, float, dict states now. "
                          "Type is " + std::string(value.TypeName()) + ".");
    }
  }
}

std::string EmptyGroupName(size_t index) { return "[" + std::to_string(index) + "]"; }

// A flat state dict by the names of parameters.
class ByName {
 public:
  ByName(const Dict& flat, const ParameterNames& names) {
    const std::set<std::string> known = names.All();
    for (const auto& [key, value] : flat) {
      const std::string text = ToString(key);
      if (text.starts_with(kState)) Add(text.substr(sizeof(kState) - 1), value, known, states_);
      if (text.starts_with(kGroups)) Add(text.substr(sizeof(kGroups) - 1), value, known, options_);
    }
  }

  // Nested, with one level for each component; {}: none.
  Dict StateOf(const std::string& name) const {
    Dict nested;
    const auto found = states_.find(name);
    if (found == states_.end()) return nested;
    for (const auto& [key, value] : found->second) {
      const std::vector<Key> components = FlatComponents(ToString(key));
      Dict* at = &nested;
      for (size_t i = 0; i + 1 < components.size(); ++i) {
        if (!at->Contains(components[i])) at->Set(components[i], Dict{});
        at = &at->Find(components[i])->AsDict();
      }
      at->Set(components.back(), value);
    }
    return nested;
  }
  bool HasOneOf(const std::vector<std::string>& names) const {
    return std::ranges::any_of(names, [&](const std::string& name) { return OptionsOf(name) != nullptr; });
  }
  // nullptr: none.
  const Dict* OptionsOf(const std::string& name) const {
    const auto found = options_.find(name);
    return found == options_.end() ? nullptr : &found->second;
  }

 private:
  // The longest known name that `text` begins with, and the rest; of no known name: nothing.
  static void Add(const std::string& text, const Value& value, const std::set<std::string>& known,
                  std::map<std::string, Dict>& by_name) {
    for (size_t dot = text.rfind('.'); dot != std::string::npos && dot > 0; dot = text.rfind('.', dot - 1)) {
      if (!known.contains(text.substr(0, dot))) continue;
      by_name[text.substr(0, dot)].Set(text.substr(dot + 1), value);
      return;
    }
  }

  std::map<std::string, Dict> states_;
  std::map<std::string, Dict> options_;
};

// The entries that the optimizer's state of the parameter has, in its order; then all others.
Dict EntriesOf(const Dict& given, const Dict* own) {
  if (!own) return given;
  Dict entries;
  for (const auto& [key, value] : *own) {
    if (const Value* entry = given.Find(key)) entries.Set(key, *entry);
  }
  for (const auto& [key, value] : given) entries.Set(key, value);
  return entries;
}

// The options saved for the first of these parameters, without `strict` of the first that has any; in the order of the
// group's own.
Dict OptionsOf(const ByName& saved, const List& params, const Optimizer& optimizer, const Dict& own, bool strict) {
  std::string name = params.front().AsString();
  for (size_t i = 1; !strict && i < params.size() && !saved.OptionsOf(name); ++i) name = params[i].AsString();
  const Dict* given = saved.OptionsOf(name);
  Dict options;
  for (const auto& [option, value] : own) {
    const Value* found = given ? given->Find(option) : nullptr;
    if (strict && !found && optimizer.HasDefault(option)) {
      throw SemanticError("KeyError", "'" + (kGroups + name) + "." + ToString(option) + "'");
    }
    options.Set(option, found ? *found : value);
  }
  if (given) {
    for (const auto& [option, value] : *given) options.Set(option, value);
  }
  return options;
}

// RuntimeError as RequireSameOptions, where the parameters of one group were saved with different options.
void CheckSameOptions(const ByName& saved, const List& params) {
  const Dict* first = nullptr;
  for (const Value& name : params) {
    const Dict* given = saved.OptionsOf(name.AsString());
    if (first && given) RequireSameOptions(*first, *given, name.AsString());
    if (!first) first = given;
  }
}

bool LacksOneOf(const Dict& own, const Dict& entries) {
  for (const auto& [key, value] : own) {
    if (!entries.Contains(key)) return true;
  }
  return false;
}

}  // namespace

Dict Flattened(const Dict& state_dict) {
  Dict flat;
  for (const auto& [name, state] : state_dict.At("state").AsDict()) {
    Flatten(state.AsDict(), kState + ToString(name), flat);
  }
  size_t empty = 0;
  for (const Value& group : state_dict.At("param_groups").AsList()) {
    std::vector<std::string> names = group.AsDict().At("params").AsStrings();
    if (names.empty()) names = {EmptyGroupName(empty++)};
    for (const std::string& name : names) {
      for (const auto& [option, value] : group.AsDict()) {
        if (option != Key("params")) flat.Set(kGroups + name + "." + ToString(option), value);
      }
    }
  }
  return flat;
}

bool IsFlattened(const Dict& state_dict) { return !state_dict.Contains("state"); }

List FlatEmptyGroups(const Dict& flat) {
  List groups;
  for (size_t i = 0;; ++i) {
    const std::string prefix = kGroups + EmptyGroupName(i) + ".";
    Dict group;
    for (const auto& [key, value] : flat) {
      const std::string name = ToString(key);
      if (name.starts_with(prefix)) group.Set(name.substr(prefix.size()), value);
    }
    if (group.empty()) return groups;
    groups.push_back(std::move(group));
  }
}

Dict Unflattened(const Dict& flat, const Optimizer& optimizer, const Dict& own, const ParameterNames& names,
                 SavedEmptyGroups& empty_groups, const UnflattenOptions& options) {
  const ByName saved(flat, names);
  Dict state;
  List groups;
  int64_t id = 0;
  for (const OptimizerGroup& group : optimizer.groups()) {
    List params;
    for (const models::ParameterPtr& parameter : group.parameters) {
      const Value* mine = own.Find(id++);
      const NamesOfParameter& all = names.Of(*parameter);
      const std::string unsaved = saved.HasOneOf(all.fqns) ? "" : all.fqns.front();
      for (const std::string& name : all.fqns) {
        if (all.is_tied && !saved.OptionsOf(name) && name != unsaved) continue;
        params.push_back(name);
        Dict entries = EntriesOf(saved.StateOf(name), mine ? &mine->AsDict() : nullptr);
        const bool is_needed = options.strict && mine && parameter->value.requires_grad();
        const bool lacks = options.complete ? LacksOneOf(mine ? mine->AsDict() : Dict{}, entries) : entries.empty();
        if (is_needed && lacks && !mine->AsDict().empty()) ThrowMissingState(name);
        if (!entries.empty()) state.Set(name, std::move(entries));
      }
    }
    if (options.strict) CheckSameOptions(saved, params);
    Dict unflattened = params.empty() ? empty_groups.TakeFor(group.options).value_or(group.options)
                                      : OptionsOf(saved, params, optimizer, group.options, options.strict);
    unflattened.Set("params", std::move(params));
    groups.push_back(std::move(unflattened));
  }
  return Dict{{"state", std::move(state)}, {"param_groups", std::move(groups)}};
}

}  // namespace shardcts::reference
