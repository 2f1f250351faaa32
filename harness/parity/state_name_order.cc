#include "parity/state_name_order.h"

#include <map>
#include <string>

namespace shardcts {
namespace {

const std::set<std::string> kLoading = {"fsdp.optim_state_dict_to_load", "fsdp.shard_full_optim_state_dict",
                                        "fsdp.scatter_full_optim_state_dict",
                                        "fsdp.flatten_sharded_optim_state_dict"};

// Whether a step or an argument holds something that one of these steps gave.
bool RefersTo(const Json& holder, const std::set<int64_t>& steps) {
  if (!holder.is_structured()) return false;
  if (holder.is_object() && holder.contains("$ref")) return steps.contains(holder["$ref"].at(0).get<int64_t>());
  for (const Json& item : holder) {
    if (RefersTo(item, steps)) return true;
  }
  return false;
}

void SortKeys(Json& dict) {
  if (!dict.is_object()) return;
  std::map<std::string, Json> sorted;
  for (auto& [key, value] : dict.items()) sorted.emplace(key, std::move(value));
  dict = Json::object();
  for (auto& [key, value] : sorted) dict[key] = std::move(value);
}

}  // namespace

void StateNameOrder::Meet(const Json& step) {
  const std::string operation = step.at("op").get<std::string>();
  const bool loads = kLoading.contains(operation);
  if (loads) loading_steps_.insert(step.at("step").get<int64_t>());
  is_chance_ = loads || (operation == "optimizer.state_dict" && !loading_steps_.empty()) ||
               (operation == "sharded.gather" && RefersTo(step, loading_steps_));
}

Json StateNameOrder::WithNamesSorted(Json value) {
  if (!value.is_object()) return value;
  Json& states = value.contains("state") ? value["state"] : value;
  if (states.contains("$dict")) {  // keys that are not all strings
    for (Json& entry : states["$dict"]) SortKeys(entry.at(1));
  } else {
    for (Json& state : states) SortKeys(state);
  }
  return value;
}

}  // namespace shardcts
