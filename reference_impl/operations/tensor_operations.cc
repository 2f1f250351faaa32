#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "operations/handlers.h"
#include "operations/tensor_operations.h"
#include "operations/tensor_values.h"
#include "tensor/redistribute.h"
#include "tensor/chunks.h"
#include "tensor/sharded_tensor.h"

namespace shardcts::reference {
namespace {

DTensor TheDTensor(const Call& call) { return FromContract(call.Get("value").AsDTensor(), call.session.meshes); }

// Applies `change` to the argument "value"; to each entry if it is a dict.
template <class Change>
Value ForEachEntry(const Call& call, const Change& change) {
  const Value& value = call.Get("value");
  if (value.type() != Value::Type::kDict) return change(value);
  Dict results;
  for (const auto& [key, entry] : value.AsDict()) results.Set(key, change(entry));
  return results;
}

// The same at every depth: `change` is applied to values that are neither a dict nor a list.
template <class Change>
Value ForEachLeaf(const Value& value, const Change& change) {
  if (const auto* dict = value.TryAs<Dict>()) {
    Dict results;
    for (const auto& [key, entry] : *dict) results.Set(key, ForEachLeaf(entry, change));
    return results;
  }
  if (const auto* list = value.TryAs<List>()) {
    List results;
    for (const Value& entry : *list) results.push_back(ForEachLeaf(entry, change));
    return results;
  }
  return change(value);
}

bool IsTensor(const Value& value) {
  return value.TryAs<Tensor>() || value.TryAs<shardcts::DTensor>() || value.TryAs<ShardedTensor>();
}

Value Mesh(const Call& call) {
  return call.session.HandleOf(call.session.meshes.Find(call.Get("value").AsDTensor().mesh));
}

Value Full(const Call& call) {
  return ForEachEntry(call, [&](const Value& value) -> Value {
    return FullTensor(FromContract(value.AsDTensor(), call.session.meshes));
  });
}

Value Redistribution(const Call& call) {
  const DTensor tensor = TheDTensor(call);
  const std::vector<Placement> placements = PlacementsFrom(call.Get("placements"));
  for (size_t i = 0; i < std::min(placements.size(), tensor.placements.size()); ++i) {
    if (placements[i].kind != Placement::Kind::kPartial || placements[i] == tensor.placements[i]) continue;
    throw SemanticError("RuntimeError", "cannot redistribute from " + tensor.placements[i].ToString() + " to " +
                                            placements[i].ToString() + ": partial values are made by operators only");
  }
  return DTensorValue(Redistribute(tensor, placements));
}

Value Distribution(const Call& call) {
  return DTensorValue(
      DistributeTensor(call.Get("value").AsTensor(), call.Mesh(), PlacementsFrom(call.Get("placements"))));
}

// Applies `change` to a tensor, or to the local parts of a DTensor or ShardedTensor; the result is not a parameter.
template <class Change>
Value ChangeLocal(const Value& value, const Change& change) {
  if (const auto* plain = value.TryAs<Tensor>()) return change(plain->data);
  if (const auto* sharded = value.TryAs<ShardedTensor>()) return WithLocalTensors(*sharded, change);
  shardcts::DTensor distributed = value.AsDTensor();
  distributed.local = change(distributed.local);
  distributed.is_parameter = false;
  return distributed;
}

Value Chunks(const Call& call) {
  const Value& value = call.Get("value");
  const auto* sharded = value.TryAs<ShardedTensor>();
  const auto* distributed = value.TryAs<shardcts::DTensor>();
  List chunks;
  for (const RankChunk& chunk : sharded ? ChunksOf(*sharded)
                                        : ChunksOf(distributed->mesh, distributed->placements, distributed->shape)) {
    chunks.push_back(
        Dict{{"rank", chunk.rank}, {"offsets", ToValue(chunk.offsets)}, {"sizes", ToValue(chunk.sizes)}});
  }
  return chunks;
}

void CheckCount(const std::vector<int64_t>& dims, size_t expected, const std::string& kind) {
  if (dims.size() == expected) return;
  throw SemanticError("ValueError", kind + " needs " + std::to_string(expected) + " dims, got " + std::to_string(dims.size()));
}

Value View(const Call& call) {
  const at::Tensor& tensor = call.Get("value").AsTensor();
  const std::string kind = call.Get("kind").AsString();
  const std::vector<int64_t> dims = call.Get("dims").AsInts();
  if (kind == "expand") return tensor.expand(dims);
  CheckCount(dims, kind == "transpose" ? 2 : 3, kind);
  if (kind == "transpose") return tensor.transpose(dims[0], dims[1]);
  return tensor.narrow(dims[0], dims[1], dims[2]);
}

Value Clone(const Call& call) { return CopyOfTensors(call.Get("value")); }

Value Fill(const Call& call) {
  at::NoGradGuard no_grad;
  const double scalar = call.Get("scalar").AsDouble();
  ForEachEntry(call, [scalar](const Value& value) {
    return ChangeLocal(value, [scalar](at::Tensor local) { return local.fill_(scalar); });
  });
  return {};
}

Value To(const Call& call) {
  const at::Device device = DeviceFrom(call.Get("device").AsString());
  return ForEachEntry(call, [device](const Value& value) {
    return ChangeLocal(value, [device](const at::Tensor& tensor) { return tensor.to(device); });
  });
}

Value GatherShards(const Call& call) {
  Communicator& group = call.GroupOrWorld();
  return ForEachLeaf(call.Get("value"), [&](const Value& value) -> Value {
    const auto* sharded = value.TryAs<ShardedTensor>();
    return sharded ? GatherShardedTensor(*sharded, group) : value;
  });
}

}  // namespace

Value CopyOfTensors(const Value& tree) {
  return ForEachLeaf(tree, [](const Value& value) {
    if (!IsTensor(value)) return value;
    Value cloned = ChangeLocal(value, [](const at::Tensor& tensor) { return tensor.detach().clone(); });
    if (auto* distributed = cloned.TryAs<shardcts::DTensor>()) distributed->requires_grad = false;
    return cloned;
  });
}

void AddTensorHandlers(HandlerTable& table) {
  table["tensor.mesh"] = Mesh;
  table["tensor.full"] = Full;
  table["tensor.redistribute"] = Redistribution;
  table["tensor.distribute"] = Distribution;
  table["tensor.clone"] = Clone;
  table["tensor.fill"] = Fill;
  table["tensor.to"] = To;
  table["tensor.view"] = View;
  table["tensor.chunks"] = Chunks;
  table["sharded.gather"] = GatherShards;
}

}  // namespace shardcts::reference
