#include "dsd/flattened_state.h"

#include "dsd/selected_state.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

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
    const std::string name = prefix + "." + ToString(key);
    if (const auto* dict = value.TryAs<Dict>()) {
      Flatten(*dict, name, flat);
    } else if (IsTensorOrNumber(value)) {
      flat.Set(name, value);
    } else {
      throw SemanticError("NotImplementedError",
                          "Flattening optimizer state_dict only supports tensor, int, float, dict states now. "
                          "Type is " + std::string(value.TypeName()) + ".");
    }
  }
}

// All entries below `prefix`, as nested dicts with one level for each component of a name.
Dict Nested(const Dict& flat, const std::string& prefix) {
  Dict nested;
  for (const auto& [key, value] : flat) {
    const std::string name = ToString(key);
    if (!name.starts_with(prefix)) continue;
    Dict* at = &nested;
    size_t begin = prefix.size();
    for (size_t dot = name.find('.', begin); dot != std::string::npos; dot = name.find('.', begin)) {
      const std::string part = name.substr(begin, dot - begin);
      if (!at->Contains(part)) at->Set(part, Dict{});
      at = &at->Find(part)->AsDict();
      begin = dot + 1;
    }
    at->Set(name.substr(begin), value);
  }
  return nested;
}

// The entries that the optimizer's state of the parameter has, in its order; all entries if it has no state.
Dict EntriesOf(const Dict& flat, const std::string& name, const Dict* own) {
  const Dict given = Nested(flat, "state." + name + ".");
  if (!own) return given;
  Dict entries;
  for (const auto& [key, value] : *own) {
    if (const Value* entry = given.Find(key)) entries.Set(key, *entry);
  }
  return entries;
}

std::string OptionKey(const std::string& name, const std::string& option) {
  return "param_groups." + name + "." + option;
}

// The names under which a flat state dict has a parameter.
std::vector<std::string> NamesIn(const Dict& flat, const NamesOfParameter& names, const Dict& options) {
  if (!names.is_tied) return names.fqns;
  std::vector<std::string> present;
  for (const std::string& fqn : names.fqns) {
    if (!options.empty() && flat.Contains(OptionKey(fqn, options.Keys().front()))) present.push_back(fqn);
  }
  return present;
}

// The options of the optimizer's group, with the values saved for this parameter.
Dict OptionsOf(const Dict& flat, const std::string& name, const Dict& group_options) {
  Dict options;
  for (const auto& [option, value] : group_options) {
    options.Set(option, EntryOf(flat, OptionKey(name, ToString(option)).c_str()));
  }
  return options;
}

}  // namespace

Dict Flattened(const Dict& state_dict) {
  Dict flat;
  for (const auto& [name, state] : state_dict.At("state").AsDict()) {
    Flatten(state.AsDict(), "state." + ToString(name), flat);
  }
  for (const Value& group : state_dict.At("param_groups").AsList()) {
    for (const std::string& name : group.AsDict().At("params").AsStrings()) {
      for (const auto& [option, value] : group.AsDict()) {
        if (option != Key("params")) flat.Set(OptionKey(name, ToString(option)), value);
      }
    }
  }
  return flat;
}

bool IsFlattened(const Dict& state_dict) { return !state_dict.Contains("state"); }

Dict Unflattened(const Dict& flat, const Optimizer& optimizer, const ParameterNames& names, bool strict) {
  Dict state;
  List groups;
  for (const OptimizerGroup& group : optimizer.groups()) {
    List params;
    for (const models::ParameterPtr& parameter : group.parameters) {
      for (const std::string& name : NamesIn(flat, names.Of(*parameter), group.options)) {
        params.push_back(name);
        if (!parameter->value.requires_grad()) continue;
        const Dict* own = optimizer.FindState(*parameter);
        Dict entries = EntriesOf(flat, name, own);
        if (strict && own && entries.size() < own->size()) ThrowMissingState(name);
        if (!entries.empty()) state.Set(name, std::move(entries));
      }
    }
    Dict unflattened = params.empty() ? group.options : OptionsOf(flat, params.front().AsString(), group.options);
    unflattened.Set("params", std::move(params));
    groups.push_back(std::move(unflattened));
  }
  return Dict{{"state", std::move(state)}, {"param_groups", std::move(groups)}};
}

}  // namespace shardcts::reference
