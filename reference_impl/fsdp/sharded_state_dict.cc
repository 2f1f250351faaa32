#include <ATen/ATen.h>

#include "agreement/rank_agreement.h"
#include "fsdp/phase_timings.h"
#include "fsdp/range_exchange.h"
#include "fsdp/unit_state_dict.h"
#include "parameter/flat_slice.h"
#include "tensor/copy_values.h"
#include "tensor/redistribute.h"
#include "tensor/semantic_error.h"
#include "tensor/sharded_tensor.h"
#include "tensor/sharding.h"

namespace shardcts::reference {
namespace {

// The placements of a DTensor that is sharded along dimension 0 over the last mesh dimension.
std::vector<Placement> PlacementsOn(const DeviceMesh& mesh) {
  std::vector<Placement> placements(mesh.NumDims() - 1, Placement::Replicate());
  placements.push_back(Placement::Shard(0));
  return placements;
}

// The entry of a parameter of this shape of which this rank has the rows `local`.
StateValue EntryOf(const std::vector<int64_t>& shape, at::Tensor local, const FsdpModule& unit,
                   const StateDictConfig& config) {
  const Communicator& group = *unit.options().shard_group;
  if (config.offload_to_cpu) {
    const PhaseTimer timer(TimedPhase::kDeviceCopy);
    local = local.cpu();
  }
  if (!config.use_dtensor) return MakeShardedTensor(shape, ChunkSize(shape.front(), group.size()), local, group);
  const std::shared_ptr<DeviceMesh>& mesh = unit.options().mesh;
  if (!mesh) throw SemanticError("AttributeError", "'NoneType' object has no attribute 'ndim'");
  return MakeDTensor(local, mesh, PlacementsOn(*mesh), shape);
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

// One entry that is being loaded into the unit.
struct Incoming {
  std::string key;
  size_t parameter = 0;
  std::vector<int64_t> shape;   // of the parameter
  StateValue* entry = nullptr;  // nullptr: not in the state dict, or not to be loaded
};

std::vector<Incoming> FindIncoming(const FlatParameter& flat, LoadEntries& entries, const std::string& prefix) {
  std::vector<Incoming> incoming;
  for (const auto* slots : {&flat.primary_slots(), &flat.shared_slots()}) {
    for (const FlatParameter::Slot& slot : *slots) {
      Incoming one{prefix + slot.fqn, slot.parameter, flat.shape(slot.parameter)};
      const auto found = entries.find(one.key);
      if (found != entries.end()) one.entry = &found->second;
      incoming.push_back(one);
    }
  }
  return incoming;
}

// Compares the part of the parameter that this rank has according to the entry with the part that it must have in this
// group. PyTorch pads a shard that is too small and takes it for this rank's rows (docs/deviations.md).
std::optional<SemanticError> WrongChunk(const Incoming& one, const ShardedTensor& given, const Communicator& group) {
  if (one.shape.empty()) return SemanticError("IndexError", "\"" + one.key + "\" has no dimension 0 to be cut along");
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
    // PyTorch first reads the device of every entry.
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
  const PhaseTimer timer(TimedPhase::kGather);
  AgreeOnEntries(group, notes);
}

// The load itself reports an entry of another shape.
void LeaveOutOtherShapes(std::vector<Incoming>& incoming) {
  for (Incoming& one : incoming) {
    if (!one.entry) continue;
    const std::vector<int64_t> given = std::get<ShardedTensor>(*one.entry).shape;
    if (given == one.shape) continue;
    *one.entry = at::empty(given, at::device(at::kMeta));
    one.entry = nullptr;
  }
  std::erase_if(incoming, [](const Incoming& one) { return !one.entry; });
}

// This rank's rows as a 1-D range of elements.
at::Tensor RowsIn(const StateValue& entry, const at::TensorOptions& options) {
  const auto& given = std::get<ShardedTensor>(entry);
  if (given.local_shards.empty()) return at::empty({0}, options);
  const PhaseTimer timer(TimedPhase::kDeviceCopy);
  return given.local_shards.front().tensor.detach().reshape({-1}).to(options);
}

// *Collective* over the shard group. `target` receives, on each rank, the elements `want` of the entries.
void ExchangeRows(const FlatParameter& flat, const std::vector<Incoming>& incoming, const RangesByRank& want,
                  const at::Tensor& target) {
  std::vector<at::Tensor> rows;
  RangesByRank have(want.size());
  for (const Incoming& one : incoming) {
    rows.push_back(RowsIn(*one.entry, target.options()));
    for (size_t r = 0; r < have.size(); ++r) have[r].push_back(flat.RowsOf(one.parameter, static_cast<int64_t>(r)));
  }
  const PhaseTimer timer(TimedPhase::kGather);
  ExchangeRanges(*flat.options().shard_group, have, want, rows, {&target, 1});
}

// Each rank receives the elements that its shard holds, directly into the shard.
void IntoTheShards(const FlatParameter& flat, const std::vector<Incoming>& incoming) {
  const at::Tensor shard = flat.OwnedShard();
  const at::Tensor target = shard.to(flat.options().device);
  RangesByRank owned;
  for (int64_t r = 0; r < flat.layout().ranks; ++r) owned.push_back({flat.layout().Owned(r)});
  ExchangeRows(flat, incoming, owned, target);
  if (!target.is_alias_of(shard)) CopyValues(shard, target);
  for (const Incoming& one : incoming) *one.entry = WrittenSlice(flat.slice(one.parameter)->value.detach(), one.shape);
}

// In summon_full_params the modules have full parameters: each rank receives all elements.
void AsWholeTensors(const FlatParameter& flat, const std::vector<Incoming>& incoming) {
  const int64_t numel = flat.layout().numel;
  const at::Tensor whole = at::empty({numel}, flat.shard().options().device(flat.options().device));
  ExchangeRows(flat, incoming, RangesByRank(flat.layout().ranks, {{0, numel}}), whole);
  for (const Incoming& one : incoming) *one.entry = flat.ViewIn(whole, one.parameter);
}

}  // namespace

void SaveSharded(FsdpModule& unit, const StateDictConfig& config, SavedEntries& entries) {
  const FlatParameter& flat = *unit.flat();
  const Communicator& group = *unit.options().shard_group;
  const std::vector<at::Tensor> gathered = unit.is_summoned() ? std::vector<at::Tensor>() : flat.GatherRows();
  for (const auto* slots : {&flat.primary_slots(), &flat.shared_slots()}) {
    const bool is_alias = slots == &flat.shared_slots();
    for (const FlatParameter::Slot& slot : *slots) {
      StateValue& entry = entries.At(slot.fqn);
      at::Tensor rows;
      if (unit.is_summoned()) {
        const auto& whole = std::get<at::Tensor>(entry);
        const Range chunk = Chunk(whole.size(0), group.size(), group.rank());
        rows = whole.narrow(0, chunk.begin, chunk.size()).clone();
      } else {
        rows = is_alias ? gathered[slot.parameter].clone() : gathered[slot.parameter];
      }
      entry = EntryOf(flat.shape(slot.parameter), rows, unit, config);
    }
  }
}

void LoadSharded(FsdpModule& unit, const StateDictConfig& config, LoadEntries& entries, const std::string& prefix) {
  std::vector<Incoming> incoming = FindIncoming(*unit.flat(), entries, prefix);
  Agree(incoming, unit, config.use_dtensor);
  if (!config.use_dtensor) {
    LeaveOutOtherShapes(incoming);
    return unit.is_summoned() ? AsWholeTensors(*unit.flat(), incoming) : IntoTheShards(*unit.flat(), incoming);
  }
  for (const Incoming& one : incoming) {
    if (!one.entry) continue;
    const PhaseTimer timer(TimedPhase::kGather);
    *one.entry = FullTensor(std::get<DTensor>(*one.entry));
  }
}

}  // namespace shardcts::reference
