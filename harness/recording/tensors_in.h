// The tensors of a value that is still JSON. *Local*.
#pragma once

#include "contract/json_codec.h"

namespace shardcts {

// visit(object) for each object that describes a plain tensor, also the local parts of DTensors and ShardedTensors: one
// for each tensor that a comparison would count. `Any`: Json or const Json.
template <class Any, class Visit>
void ForEachTensor(Any& json, const Visit& visit) {
  if (!json.is_structured()) return;
  if (json.is_object() && json.size() == 1) {
    const std::string& kind = json.begin().key();
    if (kind == "$tensor") return visit(json.begin().value());
    if (kind == "$dtensor") return visit(json.begin().value().at("local"));
    if (kind == "$sharded_tensor") {
      for (auto& shard : json.begin().value().at("local_shards")) visit(shard.at("tensor"));
      return;
    }
  }
  for (auto& item : json) ForEachTensor(item, visit);
}

}  // namespace shardcts
