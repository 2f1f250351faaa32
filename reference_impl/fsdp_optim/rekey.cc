#include "fsdp_optim/rekey.h"

#include <algorithm>

#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

std::map<Key, Key> NewKeys(OptimStateKeyType type, models::Module& model, const OptimizerKeys& keys) {
  std::map<Key, Key> renamed;
  for (const auto& [name, parameter] : models::NamedParameters(model)) {
    const std::optional<Key> id = keys.KeyOf(*parameter);
    if (!id) continue;
    if (type == OptimStateKeyType::kParameterId) {
      renamed[name] = *id;
    } else {
      renamed[*id] = name;
    }
  }
  return renamed;
}

const Key& NewKey(const std::map<Key, Key>& renamed, const Key& key) {
  const auto found = renamed.find(key);
  if (found != renamed.end()) return found->second;
  if (std::holds_alternative<int64_t>(key)) throw SemanticError("IndexError", "list index out of range");
  throw SemanticError("KeyError", Quoted(key));
}

// A Dict::Keys() for the message: dict_keys([0, 'a']).
std::string KeysText(const Dict& dict) {
  std::string text;
  for (const auto& [key, value] : dict) text += (text.empty() ? "" : ", ") + Quoted(key);
  return "dict_keys([" + text + "])";
}

}  // namespace

Dict RekeyOptimState(const Dict& state_dict, OptimStateKeyType type, models::Module& model, const OptimizerKeys& keys) {
  const Dict& state = EntryOf(state_dict, "state").AsDict();
  size_t with_ids = 0;
  for (const auto& [key, value] : state) with_ids += std::holds_alternative<int64_t>(key) ? 1 : 0;
  if (with_ids > 0 && with_ids < state.size()) {
    throw SemanticError("ValueError", "Invalid parameter keys: " + KeysText(state));
  }
  const bool wants_ids = type == OptimStateKeyType::kParameterId;
  if (with_ids == (wants_ids ? state.size() : 0)) return state_dict;

  const std::map<Key, Key> renamed = NewKeys(type, model, keys);
  Dict new_state;
  for (const auto& [key, value] : state) new_state.Set(NewKey(renamed, key), value);
  List new_groups;
  for (const Value& given : EntryOf(state_dict, "param_groups").AsList()) {
    Dict group = given.AsDict();
    std::vector<Key> params;
    for (const Value& key : EntryOf(group, "params").AsList()) params.push_back(NewKey(renamed, KeyFrom(key)));
    std::ranges::sort(params);
    List values;
    for (const Key& key : params) values.push_back(ValueOf(key));
    group.Set("params", std::move(values));
    new_groups.push_back(std::move(group));
  }
  return Dict{{"state", std::move(new_state)}, {"param_groups", std::move(new_groups)}};
}

}  // namespace shardcts::reference
