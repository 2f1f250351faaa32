#include "fsdp_optim/incoming_state.h"

#include <ATen/ATen.h>

#include "fsdp_optim/chunked_state.h"
#include "fsdp_optim/state_entries.h"
#include "optim/optimizer.h"
#include "tensor/redistribute.h"
#include "tensor/semantic_error.h"
#include "tensor/sharded_tensor.h"
#include "tensor/sharding.h"

namespace shardcts::reference {
namespace {

// Every tensor with dimensions in the states of parameters.
std::vector<IncomingTensor> TensorsIn(const Dict& state_dict) {
  std::vector<IncomingTensor> tensors;
  for (const auto& [key, entry] : EntryOf(state_dict, "state").AsDict()) {
    const auto* state = entry.TryAs<Dict>();
    if (!state) continue;
    for (const auto& [name, value] : *state) {
      if (IsDistributed(value)) {
        throw SemanticError("RuntimeError", "the state \"" + ToString(name) + "\" of \"" + ToString(key) +
                                                "\" is in pieces: the first rank alone cannot send it");
      }
      if (IsTensorWithDims(value)) tensors.push_back({key, name, value});
    }
  }
  return tensors;
}

void Place(const IncomingTensor& tensor, Value value, Dict& state_dict) {
  Value* entry = state_dict.Find("state")->AsDict().Find(tensor.parameter);
  entry->AsDict().Set(tensor.name, std::move(value));
}

// What the other ranks need: the state dict without its tensors, and the positions of the tensors.
Value Structure(const ReceivedState& state) {
  Dict bare = state.state_dict;
  List tensors;
  for (const IncomingTensor& tensor : state.tensors) {
    const at::Tensor& data = tensor.value.AsTensor();
    Place(tensor, {}, bare);
    const auto key = [](const Key& given) {
      const auto* id = std::get_if<int64_t>(&given);
      return id ? Value(*id) : Value(std::get<std::string>(given));
    };
    tensors.push_back(List{key(tensor.parameter), key(tensor.name), static_cast<int64_t>(data.scalar_type()),
                           ToValue(data.sizes().vec())});
  }
  return Dict{{"state_dict", std::move(bare)}, {"tensors", std::move(tensors)}};
}

ReceivedState FromStructure(const Value& structure) {
  const auto key = [](const Value& value) {
    const auto* name = value.TryAs<std::string>();
    return name ? Key(*name) : Key(value.AsInt());
  };
  ReceivedState state{structure.AsDict().At("state_dict").AsDict(), {}};
  for (const Value& said : structure.AsDict().At("tensors").AsList()) {
    const List& parts = said.AsList();
    const auto dtype = static_cast<at::ScalarType>(parts.at(2).AsInt());
    const at::Tensor outline = at::empty(parts.at(3).AsInts(), at::TensorOptions().dtype(dtype).device(at::kMeta));
    state.tensors.push_back({key(parts.at(0)), key(parts.at(1)), outline});
    Place(state.tensors.back(), outline, state.state_dict);
  }
  return state;
}

}  // namespace

std::optional<TensorOutline> OutlineOf(const Value& value) {
  if (const auto* sharded = value.TryAs<ShardedTensor>()) return TensorOutline{sharded->shape, sharded->dtype};
  if (const auto* distributed = value.TryAs<shardcts::DTensor>()) {
    return TensorOutline{distributed->shape, distributed->local.scalar_type()};
  }
  if (!IsTensorWithDims(value)) return std::nullopt;
  return TensorOutline{value.AsTensor().sizes().vec(), value.AsTensor().scalar_type()};
}

bool IsDistributed(const Value& value) { return value.TryAs<ShardedTensor>() || value.TryAs<shardcts::DTensor>(); }

ReceivedState ReceiveFromFirst(const Dict* given, Communicator& group, RankAgreement& agreement) {
  ReceivedState state;
  Value structure;
  if (group.rank() == 0) {
    agreement.Try([&] {
      if (!given) throw SemanticError("TypeError", "'NoneType' object is not subscriptable");
      state = {*given, TensorsIn(*given)};
      structure = Structure(state);
    });
  }
  const std::vector<Value> all = agreement.Exchange(group, structure);
  if (group.rank() != 0) agreement.Try([&] { state = FromStructure(all.front()); });
  return state;
}

void CheckPieces(const IncomingTensor& tensor, const UnitMembers& unit) {
  const std::string what = "the state \"" + ToString(tensor.name) + "\" of \"" + ToString(tensor.parameter) + "\"";
  if (const auto* distributed = tensor.value.TryAs<shardcts::DTensor>()) {
    const std::shared_ptr<DeviceMesh>& mesh = unit.unit->options().mesh;
    if (mesh && mesh->layout() == distributed->mesh) return;
    throw SemanticError("RuntimeError", what + " is a DTensor on another mesh than the unit");
  }
  const auto* sharded = tensor.value.TryAs<ShardedTensor>();
  if (!sharded || sharded->shape.empty()) return;
  const Communicator& group = unit.group();
  const int64_t rows = sharded->shape.front();
  const int64_t row_numel = rows == 0 ? 0 : c10::multiply_integers(sharded->shape) / rows;
  const Range own = Chunk(rows, group.size(), group.rank());
  const int64_t expected = own.size() * row_numel;
  int64_t actual = 0;
  bool is_in_place = sharded->local_shards.size() <= 1;
  for (const LocalShard& shard : sharded->local_shards) {
    actual += shard.tensor.numel();
    is_in_place = is_in_place && (shard.tensor.numel() == 0 || shard.metadata.offsets.front() == own.begin);
  }
  if (is_in_place && actual == expected) return;
  throw SemanticError("RuntimeError", what + " is not cut for rank " + std::to_string(group.rank()) + " of " +
                                          std::to_string(group.size()) + ": expected " + std::to_string(expected) +
                                          " elements from row " + std::to_string(own.begin) + " on, actual " +
                                          std::to_string(actual) + (actual == expected ? " of another place" : ""));
}

std::optional<at::Tensor> ChunkIn(const Value& value, const UnitMembers& unit) {
  if (const auto* sharded = value.TryAs<ShardedTensor>()) {
    if (sharded->local_shards.empty()) return at::empty({0}, sharded->dtype);
    return sharded->local_shards.front().tensor;
  }
  const auto* distributed = value.TryAs<shardcts::DTensor>();
  if (!distributed || distributed->placements != ChunkPlacements(*unit.unit->options().mesh)) return std::nullopt;
  return distributed->local;
}

at::Tensor Gathered(const Value& value, const UnitMembers& unit) {
  if (const auto* sharded = value.TryAs<ShardedTensor>()) {
    return GatherShardedTensor(*sharded, unit.group());
  }
  if (const auto* distributed = value.TryAs<shardcts::DTensor>()) {
    return FullTensor({distributed->local, unit.unit->options().mesh, distributed->placements, distributed->shape,
                       distributed->stride});
  }
  return value.AsTensor();
}

at::Tensor Broadcast(const Value& value, Communicator& group) {
  const at::Tensor& given = value.AsTensor();
  at::Tensor tensor = group.rank() == 0 ? given.detach().to(group.device()).contiguous()
                                        : at::empty(given.sizes(), given.options().device(group.device()));
  group.Broadcast(tensor, 0);
  return tensor;
}

}  // namespace shardcts::reference
