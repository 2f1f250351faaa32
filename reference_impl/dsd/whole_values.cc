#include "dsd/whole_values.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <deque>

#include "fsdp_optim/state_entries.h"
#include "tensor/redistribute.h"
#include "tensor/semantic_error.h"
#include "tensor/sharded_tensor.h"

namespace shardcts::reference {
namespace {

// The DTensors inside, in the order in which ValueForm visits them.
void CollectDTensors(const Value& value, const MeshRegistry& meshes, std::vector<DTensor>& found) {
  if (const auto* distributed = value.TryAs<shardcts::DTensor>()) found.push_back(FromContract(*distributed, meshes));
  if (const auto* list = value.TryAs<List>()) {
    for (const Value& entry : *list) CollectDTensors(entry, meshes, found);
  }
  if (const auto* dict = value.TryAs<Dict>()) {
    for (const auto& [key, entry] : *dict) CollectDTensors(entry, meshes, found);
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
      CollectDTensors(state_dict, context_.meshes, distributed);
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
    Dict formed;
    for (const auto& [key, value] : dict) {
      Value result = Of(value);
      if (keeps_) formed.Set(key, std::move(result));
    }
    return formed;
  }

  Value Whole(const Value& value) {
    if (const auto* distributed = value.TryAs<shardcts::DTensor>()) {
      if (!IsForRank0Only()) return TakeWhole();
      const at::Tensor whole = FullTensorOnFirst(FromContract(*distributed, context_.meshes));
      return keeps_ ? Value(whole) : Value();
    }
    if (const auto* sharded = value.TryAs<ShardedTensor>()) {
      if (!context_.world) throw SemanticError("ValueError", "Default process group has not been initialized");
      return GatherShardedTensor(*sharded, *context_.world, at::kCPU);
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

Dict InFormOf(const StateDictOptions& options, Dict state_dict, const StateDictContext& context, const List& live) {
  if (!options.full_state_dict && !options.cpu_offload) return state_dict;
  at::NoGradGuard no_grad;
  return WithoutStorageOf(live, ValueForm(options, context).OfStateDict(state_dict)).AsDict();
}

}  // namespace shardcts::reference
