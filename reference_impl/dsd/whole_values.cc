#include "dsd/whole_values.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>

#include "fsdp_optim/state_entries.h"
#include "tensor/redistribute.h"
#include "tensor/semantic_error.h"
#include "tensor/sharded_tensor.h"

namespace shardcts::reference {
namespace {

// The entries in the order in which all ranks visit them, whatever the order of their dicts.
std::vector<const Dict::Entry*> InCommonOrder(const Dict& dict) {
  std::vector<const Dict::Entry*> entries;
  for (const Dict::Entry& entry : dict) entries.push_back(&entry);
  std::ranges::sort(entries, {}, [](const Dict::Entry* entry) { return entry->key; });
  return entries;
}

// Calls `visit` with each value that is not a list or a dict, and its path, in the order in which ValueForm does.
void VisitLeaves(const Value& value, const std::string& path,
                 const std::function<void(const std::string&, const Value&)>& visit) {
  if (const auto* list = value.TryAs<List>()) {
    for (size_t i = 0; i < list->size(); ++i) VisitLeaves((*list)[i], path + "." + std::to_string(i), visit);
  } else if (const auto* dict = value.TryAs<Dict>()) {
    for (const Dict::Entry* entry : InCommonOrder(*dict)) {
      VisitLeaves(entry->value, path.empty() ? ToString(entry->key) : path + "." + ToString(entry->key), visit);
    }
  } else {
    visit(path, value);
  }
}

class ValueForm {
 public:
  ValueForm(const StateDictOptions& options, const StateDictContext& context)
      : options_(options), context_(context), keeps_(KeepsResult(options, context)) {}

  // *Collective* with full_state_dict.
  Dict OfStateDict(const Dict& state_dict) {
    if (options_.full_state_dict && !IsForRank0Only()) {
      std::vector<DTensor> distributed;
      VisitLeaves(state_dict, "", [&](const std::string&, const Value& value) {
        const auto* tensor = value.TryAs<shardcts::DTensor>();
        if (tensor) distributed.push_back(FromContract(*tensor, context_.meshes));
      });
      for (at::Tensor& whole : FullTensors(distributed)) whole_.push_back(std::move(whole));
    }
    return OfDict(state_dict);
  }

 private:
  Value Of(const Value& value) {
    if (const auto* dict = value.TryAs<Dict>()) return OfDict(*dict);
    if (const auto* list = value.TryAs<List>()) {
      List formed;
      for (const Value& entry : *list) formed.push_back(Of(entry));
      return formed;
    }
    const Value formed = options_.full_state_dict ? Whole(value) : value;
    return keeps_ ? Offloaded(formed) : Value();
  }

  Dict OfDict(const Dict& dict) {
    std::map<Key, Value> results;
    for (const Dict::Entry* entry : InCommonOrder(dict)) results[entry->key] = Of(entry->value);
    Dict formed;
    if (!keeps_) return formed;
    for (const auto& [key, value] : dict) formed.Set(key, std::move(results.at(key)));
    return formed;
  }

  Value Whole(const Value& value) {
    if (const auto* distributed = value.TryAs<shardcts::DTensor>()) {
      if (!IsForRank0Only()) return TakeWhole();
      const DTensor tensor = FromContract(*distributed, context_.meshes);
      const bool on_first = tensor.mesh->group(0).global_ranks().front() == context_.world->global_ranks().front();
      const at::Tensor whole = on_first || tensor.mesh->NumDims() > 1 ? FullTensorOnFirst(tensor) : FullTensor(tensor);
      return keeps_ ? Value(whole) : Value();
    }
    if (const auto* sharded = value.TryAs<ShardedTensor>()) {
      if (!context_.world) throw SemanticError("ValueError", "Default process group has not been initialized");
      return GatherShardedTensor(*sharded, *context_.world);
    }
    return value;
  }

  at::Tensor TakeWhole() {
    at::Tensor whole = std::move(whole_.front());
    whole_.pop_front();
    return whole;
  }

  bool IsForRank0Only() const { return options_.full_state_dict && options_.cpu_offload && context_.world; }

  Value Offloaded(const Value& value) const {
    if (!options_.cpu_offload) return value;
    if (const auto* tensor = value.TryAs<Tensor>()) return tensor->data.cpu();
    if (const auto* sharded = value.TryAs<ShardedTensor>()) {
      return WithLocalTensors(*sharded, [](const at::Tensor& local) { return local.cpu(); });
    }
    if (const auto* distributed = value.TryAs<shardcts::DTensor>()) {
      shardcts::DTensor moved = *distributed;
      moved.local = moved.local.cpu();
      return moved;
    }
    return value;
  }

  const StateDictOptions& options_;
  const StateDictContext& context_;
  bool keeps_;
  std::deque<at::Tensor> whole_;  // of the DTensors that have not been visited yet
};

}  // namespace

std::vector<std::string> DistributedIn(const Dict& state_dict) {
  std::vector<std::string> found;
  VisitLeaves(state_dict, "", [&](const std::string& path, const Value& value) {
    if (const auto* tensor = value.TryAs<shardcts::DTensor>()) {
      found.push_back("has " + path + " of shape " + ShapeToString(tensor->shape) + " placed " +
                      ToString(tensor->placements));
    } else if (const auto* sharded = value.TryAs<ShardedTensor>()) {
      found.push_back("has " + path + " of shape " + ShapeToString(sharded->shape) + " in shards");
    }
  });
  return found;
}

Dict InFormOf(const StateDictOptions& options, Dict state_dict, const StateDictContext& context, const List& live) {
  if (!options.full_state_dict && !options.cpu_offload) return state_dict;
  at::NoGradGuard no_grad;
  return WithoutStorageOf(live, ValueForm(options, context).OfStateDict(state_dict)).AsDict();
}

}  // namespace shardcts::reference
