#include <ATen/ATen.h>

#include "fsdp/unit_state_dict.h"
#include "tensor/redistribute.h"
#include "tensor/semantic_error.h"
#include "tensor/sharded_tensor.h"
#include "tensor/sharding.h"

namespace shardcts::reference {
namespace {

// The placements of a DTensor that is cut along dimension 0 over the last mesh dimension.
std::vector<Placement> PlacementsOn(const DeviceMesh& mesh) {
  std::vector<Placement> placements(mesh.NumDims() - 1, Placement::Replicate());
  placements.push_back(Placement::Shard(0));
  return placements;
}

StateValue ShardOf(const at::Tensor& whole, const FsdpModule& unit, const StateDictConfig& config) {
  const Communicator& group = *unit.options().shard_group;
  const Range rows = Chunk(whole.size(0), group.size(), group.rank());
  at::Tensor local = whole.narrow(0, rows.begin, rows.size()).clone();
  if (config.offload_to_cpu) local = local.cpu();
  if (!config.use_dtensor) {
    return MakeShardedTensor(whole.sizes().vec(), ChunkSize(whole.size(0), group.size()), local, group);
  }
  const std::shared_ptr<DeviceMesh>& mesh = unit.options().mesh;
  if (!mesh) throw SemanticError("AttributeError", "'NoneType' object has no attribute 'ndim'");
  return MakeDTensor(local, mesh, PlacementsOn(*mesh), whole.sizes().vec());
}

// One entry on its way into the unit.
struct Incoming {
  StateValue* entry = nullptr;  // nullptr: not in the dict, or not to be replaced
  std::vector<int64_t> shape;
  int64_t chunk = 0;   // elements, of every rank's part
  int64_t offset = 0;  // in the row of all parts of one rank
};

const ShardedTensor& AsShardedTensor(const StateValue& entry) {
  if (const auto* sharded = std::get_if<ShardedTensor>(&entry)) {
    if (sharded->local_shards.size() < 2) return *sharded;
    throw SemanticError("AssertionError", "Expects 0 or 1 shard per rank but got " +
                                              std::to_string(sharded->local_shards.size()) + " shards");
  }
  std::string type = "<class 'torch.Tensor'>";
  if (std::holds_alternative<DTensor>(entry)) type = "<class 'torch.distributed.tensor.DTensor'>";
  if (const auto* other = std::get_if<NotATensor>(&entry)) type = "<class '" + other->type_name + "'>";
  throw SemanticError("AssertionError", "Expected ShardedTensor, got " + type);
}

std::vector<Incoming> FindIncoming(const FlatParameter& flat, LoadEntries& entries, const std::string& prefix,
                                   int64_t ranks) {
  std::vector<Incoming> incoming;
  int64_t offset = 0;
  for (const auto* slots : {&flat.primary_slots(), &flat.shared_slots()}) {
    for (const FlatParameter::Slot& slot : *slots) {
      Incoming one;
      one.shape = flat.shape(slot.parameter);
      const int64_t row_numel = c10::multiply_integers(one.shape) / std::max<int64_t>(one.shape.front(), 1);
      one.chunk = ChunkSize(one.shape.front(), ranks) * row_numel;
      one.offset = offset;
      offset += one.chunk;
      const auto found = entries.find(prefix + slot.fqn);
      if (found != entries.end()) one.entry = &found->second;
      incoming.push_back(one);
    }
  }
  return incoming;
}

// Writes this rank's part into its place in the row. What does not fit the parameter is left to the walk to complain
// of.
void PutPart(Incoming& one, at::Tensor& row) {
  if (!one.entry) return;
  const ShardedTensor& given = AsShardedTensor(*one.entry);
  if (given.shape != one.shape) {
    *one.entry = at::empty(given.shape, at::TensorOptions().dtype(row.scalar_type()).device(at::kMeta));
    one.entry = nullptr;
    return;
  }
  if (given.local_shards.empty()) return;
  const at::Tensor part = given.local_shards.front().tensor.detach().reshape({-1});
  if (part.numel() > one.chunk) {
    throw SemanticError("RuntimeError", "a local shard of " + std::to_string(part.numel()) +
                                            " elements does not fit into chunks of " + std::to_string(one.chunk));
  }
  row.narrow(0, one.offset, part.numel()).copy_(part);
}

void LoadShardedTensors(const FlatParameter& flat, LoadEntries& entries, const std::string& prefix) {
  Communicator& group = *flat.options().shard_group;
  std::vector<Incoming> incoming = FindIncoming(flat, entries, prefix, group.size());
  const int64_t row_numel = incoming.back().offset + incoming.back().chunk;
  at::Tensor row = at::zeros({row_numel}, flat.shard().options().device(flat.options().device));
  for (Incoming& one : incoming) PutPart(one, row);
  at::Tensor rows = at::empty({group.size(), row_numel}, row.options());
  group.AllGatherInto(rows.view({-1}), row);
  for (const Incoming& one : incoming) {
    if (!one.entry) continue;
    const at::Tensor parts = rows.narrow(1, one.offset, one.chunk).reshape({-1});
    *one.entry = parts.narrow(0, 0, c10::multiply_integers(one.shape)).view(one.shape);
  }
}

void LoadDTensors(const FsdpModule& unit, LoadEntries& entries, const std::string& prefix) {
  for (const auto* slots : {&unit.flat()->primary_slots(), &unit.flat()->shared_slots()}) {
    for (const FlatParameter::Slot& slot : *slots) {
      const auto found = entries.find(prefix + slot.fqn);
      if (found == entries.end()) continue;
      const auto* given = std::get_if<DTensor>(&found->second);
      if (!given) throw SemanticError("AttributeError", "'Tensor' object has no attribute 'device_mesh'");
      if (given->mesh->layout() != unit.options().mesh->root().layout()) {
        throw SemanticError("AssertionError", "The device mesh of a tensor should be a root mesh.");
      }
      found->second = FullTensor(*given);
    }
  }
}

}  // namespace

void SaveSharded(FsdpModule& unit, const StateDictConfig& config, SavedEntries& entries) {
  const FlatParameter& flat = *unit.flat();
  const at::Tensor whole = unit.is_summoned() ? at::Tensor() : flat.Gather();
  for (const auto* slots : {&flat.primary_slots(), &flat.shared_slots()}) {
    for (const FlatParameter::Slot& slot : *slots) {
      StateValue& entry = entries.At(slot.fqn);
      entry = ShardOf(whole.defined() ? flat.ViewIn(whole, slot.parameter) : std::get<at::Tensor>(entry), unit, config);
    }
  }
}

void LoadSharded(FsdpModule& unit, const StateDictConfig& config, LoadEntries& entries, const std::string& prefix) {
  if (config.use_dtensor) {
    LoadDTensors(unit, entries, prefix);
  } else {
    LoadShardedTensors(*unit.flat(), entries, prefix);
  }
}

}  // namespace shardcts::reference
