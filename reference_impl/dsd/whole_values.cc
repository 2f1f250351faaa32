#include "dsd/whole_values.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "tensor/redistribute.h"
#include "tensor/semantic_error.h"
#include "tensor/sharded_tensor.h"

namespace shardcts::reference {
namespace {

class ValueForm {
 public:
  ValueForm(const StateDictOptions& options, const StateDictContext& context)
      : options_(options), context_(context), keeps_(KeepsResult(options, context)) {}

  // *Collective* with full_state_dict.
  Value Of(const Value& value) const {
    if (const auto* dict = value.TryAs<Dict>()) return OfDict(*dict);
    if (const auto* list = value.TryAs<List>()) {
      List formed;
      for (const Value& entry : *list) formed.push_back(Of(entry));
      return formed;
    }
    const Value formed = options_.full_state_dict ? Whole(value) : value;
    return keeps_ ? Offloaded(formed) : Value();
  }

  Dict OfDict(const Dict& dict) const {
    Dict formed;
    for (const auto& [key, value] : dict) {
      Value result = Of(value);
      if (keeps_) formed.Set(key, std::move(result));
    }
    return formed;
  }

 private:
  Value Whole(const Value& value) const {
    if (const auto* distributed = value.TryAs<shardcts::DTensor>()) {
      const DTensor parts = FromContract(*distributed, context_.meshes);
      if (!IsForRank0Only()) return FullTensor(parts);
      const at::Tensor whole = FullTensorOnFirst(parts);
      return keeps_ ? Value(whole) : Value();
    }
    if (const auto* sharded = value.TryAs<ShardedTensor>()) {
      if (!context_.world) throw SemanticError("ValueError", "Default process group has not been initialized");
      return GatherShardedTensor(*sharded, *context_.world, at::kCPU);
    }
    return value;
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
};

}  // namespace

Dict InFormOf(const StateDictOptions& options, Dict state_dict, const StateDictContext& context) {
  if (!options.full_state_dict && !options.cpu_offload) return state_dict;
  at::NoGradGuard no_grad;
  return ValueForm(options, context).OfDict(state_dict);
}

}  // namespace shardcts::reference
