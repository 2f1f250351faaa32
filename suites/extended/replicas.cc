#include "suites/extended/coded.h"
#include "suites/extended/replicas.h"

#include "rank/whole.h"
#include "suites/extended/comparison.h"
#include "suites/extended/forms.h"
#include "suites/extended/rule.h"
#include "suites/extended/training.h"

namespace shardcts::extended {
namespace {

// The coordinates of the dimensions that do not replicate; empty: the rank is not in the mesh.
std::vector<int64_t> ShardCoordinates(const DTensor& tensor, int64_t rank) {
  std::vector<int64_t> coordinates;
  const auto place = tensor.mesh.Coordinate(rank);
  if (!place) return coordinates;
  for (size_t dim = 0; dim < place->size(); ++dim) {
    if (tensor.placements[dim].kind != Placement::Kind::kReplicate) coordinates.push_back((*place)[dim]);
  }
  return coordinates;
}

Dict DTensorsIn(const Dict& state) {
  Dict found;
  ForEachTensor("", state, [&](const std::string& path, const Value& value) {
    if (value.TryAs<DTensor>()) found.Set(path, value);
  });
  return found;
}

// What a wrapper over replicas saves in pieces.
Dict SavedPieces(Model& model, const Optimizer& optimizer, const std::string& wrapper) {
  const std::string form = wrapper == "fsdp_hybrid" ? "sharded" : "dsd_sharded";
  return {{"model", GetState(model, form)},
          {"optimizer", GetOptimizerState(model, {optimizer}, form).At("state").AsDict()}};
}

void PiecesAreDTensors(Trial& t, std::string_view what, const Dict& pieces) {
  ForEachTensor("", pieces, [&](const std::string& path, const Value& value) {
    const auto* plain = value.TryAs<Tensor>();
    if (plain && plain->data.dim() == 0) return;
    t.Rule(IsDTensor(fmt::format("{}: {}", what, path), value));
  });
}

}  // namespace

void ReplicasAreEqual(Trial& t, std::string_view what, const Dict& tensors) {
  const Dict mine = DTensorsIn(tensors);
  const std::vector<Value> by_rank = t.AllGather(mine);
  for (const auto& [name, value] : mine) {
    const DTensor& own = value.AsDTensor();
    const std::vector<int64_t> part = ShardCoordinates(own, t.rank());
    for (int rank = 0; rank < t.world_size(); ++rank) {
      const Value* other = by_rank[static_cast<size_t>(rank)].AsDict().Find(name);
      if (!other || rank == t.rank() || ShardCoordinates(other->AsDTensor(), rank) != part) continue;
      t.Rule(SameValue(fmt::format("{}: {} against rank {}", what, ToString(name), rank), other->AsDTensor().local,
                       own.local));
    }
  }
}

RULE(RK10) {
  const std::string wrapper = t.TextParam("wrapper");
  Model model = BuildTrained(t, TrainedStack(), wrapper);
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", TrainingOptions("adam"));
  Train(t, model, {optimizer}, 0, 2, PartOf(t, wrapper));
  const Dict trained = SavedPieces(model, optimizer, wrapper);
  PiecesAreDTensors(t, "after two steps", trained);
  ReplicasAreEqual(t, "after two steps", trained);

  Twin twin(TrainedStack());
  const std::string whole = wrapper == "fsdp_hybrid" ? "full" : "dsd_full";
  SetState(model, whole, twin.StateDict());
  const Dict loaded = SavedPieces(model, optimizer, wrapper);
  ReplicasAreEqual(t, "after a load", loaded);
  SameWholeState(t, "after a load", twin.StateDict(), loaded.At("model").AsDict());
}

RULE(RK20) {
  const std::string way = t.TextParam("way");
  Model model = t.subject().Build("linear", {{"in", 3}, {"out", 4}, {"bias", false}}, t.device());
  const auto turned = [&](int64_t rank) { return Coded({3, 4}, rank).t().to(c10::Device(t.device())); };
  model.LoadStateDict({{"weight", turned(t.rank())}}, {.assign = true});
  way == "ddp" ? Wrap(t, model, {.name = "linear"}, "ddp") : model.BroadcastParameters(0);
  t.Rule(SameValue("weight", at::Tensor(turned(0).contiguous()),
                   at::Tensor(model.Parameters().At("weight").AsTensor().detach().contiguous())));
}

}  // namespace shardcts::extended
