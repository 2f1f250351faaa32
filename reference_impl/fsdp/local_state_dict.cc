#include <ATen/ATen.h>

#include "fsdp/phase_timings.h"
#include "fsdp/unit_state_dict.h"
#include "tensor/semantic_error.h"
#include "tensor/sharded_tensor.h"

namespace shardcts::reference {

void SaveLocal(FsdpModule& unit, const StateDictConfig& config, SavedEntries& entries) {
  const FlatParameter& flat = *unit.flat();
  ShardedTensor value = MakeShardedTensor({flat.layout().numel}, flat.layout().ShardNumel(), flat.OwnedShard(),
                                          *flat.options().shard_group);
  if (config.offload_to_cpu) {
    const PhaseTimer timer(TimedPhase::kDeviceCopy);
    value = WithLocalTensors(value, [](const at::Tensor& local) { return local.cpu(); });
  }
  entries.Set(kFlatParameterName, std::move(value));
}

void LoadLocal(FsdpModule& unit, LoadEntries& entries, const std::string& prefix) {
  const FlatParameter& flat = *unit.flat();
  const auto found = entries.find(prefix + kFlatParameterName);
  if (found == entries.end()) {
    throw SemanticError("AssertionError",
                        "No `FlatParameter` in `state_dict` for this FSDP instance but it has parameters");
  }
  const auto* given = std::get_if<ShardedTensor>(&found->second);
  if (!given) throw SemanticError("AssertionError", "Tensors in local_state_dict should be ShardedTensor.");
  const int64_t padding = flat.layout().PaddingOf(flat.rank());
  const int64_t owned = flat.shard().numel() - padding;
  at::Tensor value = flat.shard();
  if (owned > 0) {
    if (given->local_shards.empty()) {
      throw SemanticError("AssertionError", "load_local_state_dict assume one shard per ShardedTensor.");
    }
    value = given->local_shards.front().tensor.detach();
    if (padding > 0 && value.numel() >= flat.shard().numel()) {
      throw SemanticError("AssertionError", "Local shard size = " + std::to_string(flat.shard().numel()) +
                                                " and the tensor in the state_dict is " +
                                                std::to_string(value.numel()) + ".");
    }
    if (padding > 0) value = at::constant_pad_nd(value, {0, padding});
  }
  found->second = value;
}

}  // namespace shardcts::reference
