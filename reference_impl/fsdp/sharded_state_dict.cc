#include <ATen/ATen.h>

#include "fsdp/entry_agreement.h"
#include "fsdp/phase_timings.h"
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
  if (config.offload_to_cpu) {
    const PhaseTimer timer(TimedPhase::kDeviceCopy);
    local = local.cpu();
  }
  if (!config.use_dtensor) {
    return MakeShardedTensor(whole.sizes().vec(), ChunkSize(whole.size(0), group.size()), local, group);
  }
  const std::shared_ptr<DeviceMesh>& mesh = unit.options().mesh;
  if (!mesh) throw SemanticError("AttributeError", "'NoneType' object has no attribute 'ndim'");
  return MakeDTensor(local, mesh, PlacementsOn(*mesh), whole.sizes().vec());
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t size : shape) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "(" + text + ")";
}

std::string PythonType(const StateValue& entry) {
  if (const auto* other = std::get_if<NotATensor>(&entry)) return other->type_name;
  if (std::holds_alternative<DTensor>(entry)) return "torch.distributed.tensor.DTensor";
  if (std::holds_alternative<ShardedTensor>(entry)) return "torch.distributed._shard.sharded_tensor.api.ShardedTensor";
  return "torch.Tensor";
}

// One entry on its way into the unit.
struct Incoming {
  std::string key;
  std::vector<int64_t> shape;   // of the parameter
  StateValue* entry = nullptr;  // nullptr: not in the dict, or not to be replaced
  int64_t chunk = 0;            // elements, of every rank's part
  int64_t offset = 0;           // in the row of all parts of one rank
};

std::vector<Incoming> FindIncoming(const FlatParameter& flat, LoadEntries& entries, const std::string& prefix,
                                   int64_t ranks) {
  std::vector<Incoming> incoming;
  int64_t offset = 0;
  for (const auto* slots : {&flat.primary_slots(), &flat.shared_slots()}) {
    for (const FlatParameter::Slot& slot : *slots) {
      Incoming one{prefix + slot.fqn, flat.shape(slot.parameter)};
      const int64_t row_numel = c10::multiply_integers(one.shape) / std::max<int64_t>(one.shape.front(), 1);
      one.chunk = ChunkSize(one.shape.front(), ranks) * row_numel;
      one.offset = offset;
      offset += one.chunk;
      const auto found = entries.find(one.key);
      if (found != entries.end()) one.entry = &found->second;
      incoming.push_back(one);
    }
  }
  return incoming;
}

// What the entry says that this rank has of the parameter, against what it must have in this group. PyTorch pads what
// is too small and takes it for this rank's rows, whichever they are (docs/deviations.md).
std::optional<SemanticError> WrongChunk(const Incoming& one, const ShardedTensor& given, const Communicator& group) {
  const Range rows = Chunk(one.shape.front(), group.size(), group.rank());
  ShardMetadata ours{std::vector<int64_t>(one.shape.size(), 0), one.shape};
  ours.offsets.front() = rows.begin;
  ours.sizes.front() = rows.size();
  const auto text = [](const ShardMetadata& shard) {
    return "a shard " + ShapeText(shard.sizes) + " at " + ShapeText(shard.offsets);
  };
  const std::string expected = rows.size() > 0 ? text(ours) : "no shard";
  std::string actual = "no shard";
  if (!given.local_shards.empty()) {
    const LocalShard& shard = given.local_shards.front();
    const bool is_whole = shard.tensor.sizes() == shard.metadata.sizes;
    actual = is_whole ? text(shard.metadata) : "a shard whose tensor is " + ShapeText(shard.tensor.sizes().vec());
  }
  const bool is_empty =
      rows.size() == 0 && !given.local_shards.empty() && given.local_shards.front().tensor.numel() == 0;
  if (actual == expected || is_empty) return std::nullopt;
  return SemanticError("RuntimeError", "rank " + std::to_string(group.rank()) + ": \"" + one.key + "\" over " +
                                           std::to_string(group.size()) + " ranks: expected " + expected + ", actual " +
                                           actual);
}

std::optional<SemanticError> RefusalOfSharded(const Incoming& one, const Communicator& group) {
  const auto* given = std::get_if<ShardedTensor>(one.entry);
  if (!given) {
    return SemanticError("AssertionError", "Expected ShardedTensor, got <class '" + PythonType(*one.entry) + "'>");
  }
  if (given->local_shards.size() > 1) {
    return SemanticError("AssertionError", "Expects 0 or 1 shard per rank but got " +
                                               std::to_string(given->local_shards.size()) + " shards on rank " +
                                               std::to_string(group.rank()) + ".");
  }
  return given->shape == one.shape ? WrongChunk(one, *given, group) : std::nullopt;
}

std::optional<SemanticError> RefusalOfDTensor(const Incoming& one, const DeviceMesh& mesh) {
  const auto* given = std::get_if<DTensor>(one.entry);
  if (!given) {
    // PyTorch asks any entry for its device first.
    const std::string attribute = std::holds_alternative<NotATensor>(*one.entry) ? "device" : "device_mesh";
    const std::string type = PythonType(*one.entry);
    return SemanticError("AttributeError",
                         "'" + type.substr(type.rfind('.') + 1) + "' object has no attribute '" + attribute + "'");
  }
  if (given->mesh->layout() == mesh.root().layout()) return std::nullopt;
  return SemanticError("AssertionError", "The device mesh of a tensor should be a root mesh.");
}

// *Collective* over the shard group.
void Agree(const std::vector<Incoming>& incoming, const FsdpModule& unit, bool as_dtensors) {
  Communicator& group = *unit.options().shard_group;
  std::vector<EntryNote> notes;
  for (const Incoming& one : incoming) {
    EntryNote note{one.key};
    if (one.entry) {
      note.refusal = as_dtensors ? RefusalOfDTensor(one, *unit.options().mesh) : RefusalOfSharded(one, group);
      if (!note.refusal) {
        note.what =
            ShapeText(as_dtensors ? std::get<DTensor>(*one.entry).shape : std::get<ShardedTensor>(*one.entry).shape);
      }
    }
    notes.push_back(std::move(note));
  }
  AgreeOnEntries(group, notes);
}

// Writes this rank's part into its place in the row. An entry of another shape is left to the walk to complain of.
void PutPart(Incoming& one, at::Tensor& row) {
  if (!one.entry) return;
  const auto& given = std::get<ShardedTensor>(*one.entry);
  if (given.shape != one.shape) {
    *one.entry = at::empty(given.shape, at::TensorOptions().dtype(row.scalar_type()).device(at::kMeta));
    one.entry = nullptr;
    return;
  }
  if (given.local_shards.empty()) return;
  const at::Tensor part = given.local_shards.front().tensor.detach().reshape({-1});
  const PhaseTimer timer(TimedPhase::kDeviceCopy);
  row.narrow(0, one.offset, part.numel()).copy_(part);
}

void GatherShardedTensors(const FlatParameter& flat, std::vector<Incoming>& incoming) {
  Communicator& group = *flat.options().shard_group;
  const int64_t row_numel = incoming.back().offset + incoming.back().chunk;
  at::Tensor row = at::zeros({row_numel}, flat.shard().options().device(flat.options().device));
  for (Incoming& one : incoming) PutPart(one, row);
  at::Tensor rows = at::empty({group.size(), row_numel}, row.options());
  {
    const PhaseTimer timer(TimedPhase::kGather);
    group.AllGatherInto(rows.view({-1}), row);
  }
  for (const Incoming& one : incoming) {
    if (!one.entry) continue;
    const at::Tensor parts = rows.narrow(1, one.offset, one.chunk).reshape({-1});
    *one.entry = parts.narrow(0, 0, c10::multiply_integers(one.shape)).view(one.shape);
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
  std::vector<Incoming> incoming = FindIncoming(*unit.flat(), entries, prefix, unit.options().shard_group->size());
  Agree(incoming, unit, config.use_dtensor);
  if (!config.use_dtensor) return GatherShardedTensors(*unit.flat(), incoming);
  for (const Incoming& one : incoming) {
    if (!one.entry) continue;
    const PhaseTimer timer(TimedPhase::kGather);
    *one.entry = FullTensor(std::get<DTensor>(*one.entry));
  }
}

}  // namespace shardcts::reference
