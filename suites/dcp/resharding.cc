// Ports of test_dtensor_resharding.py and of the same tests in test_hf_safetensor_e2e.py.
#include <ATen/ATen.h>

#include "suites/dcp/ports.h"
#include "suites/dcp/steps.h"
#include "suites/storage/placed.h"
#include "suites/storage/sharded.h"

namespace shardcts::dcp {
namespace {

using storage::PlacementsOf;

const std::vector<std::string> kOneDim = {"S0", "R"};
const std::vector<std::string> kTwoDims = {"R.R", "R.S0", "S0.R", "S0.S0"};

// "safetensors" in the tests of the HuggingFace storage, else "default".
std::string FormatOf(const Trial& t) { return t.TextParam("format"); }

Value Zeros(Trial& t, const Mesh& mesh, const std::string& placements) {
  return t.subject().Distribute(at::zeros({4, 4}), mesh, PlacementsOf(placements));
}

// 4×4, saved and loaded with these placements.
struct Reshard {
  Value saved;
  Value loaded;
};
Reshard SaveAndLoad(Trial& t, const Mesh& from, const std::string& saved, const Mesh& to, const std::string& wanted,
                    const SaveOptions& options) {
  const Value dtensor = t.subject().Distribute(Counting({4, 4}), from, PlacementsOf(saved));
  SaveCheckpoint(t.caller(), {{"dtensor", dtensor}}, "checkpoint", options);
  const Dict loaded =
      LoadCheckpoint(t.caller(), {{"dtensor", Zeros(t, to, wanted)}}, "checkpoint", {.format = options.format});
  return {dtensor, loaded.At("dtensor")};
}

void IsWhole(Trial& t, std::string_view check, const std::string& what, const Value& dtensor) {
  const std::vector<Placement> replicated(dtensor.AsDTensor().placements.size(), Placement::Replicate());
  t.Check(check, SameValue(what, Counting({4, 4}), t.subject().Redistribute(dtensor, replicated).AsDTensor().local));
}

struct PlacementChecks {
  std::string_view whole, local;
};
void ChangesPlacements(Trial& t, const PlacementChecks& checks, const Mesh& mesh, const std::string& saved,
                       const std::string& wanted, const SaveOptions& options) {
  const std::string what = saved + " into " + wanted;
  const Reshard reshard = SaveAndLoad(t, mesh, saved, mesh, wanted, options);
  IsWhole(t, checks.whole, what, reshard.loaded);
  const Value back = t.subject().Redistribute(reshard.loaded, PlacementsOf(saved));
  t.Check(checks.local, SameValue(what + ": local part", reshard.saved.AsDTensor().local, back.AsDTensor().local));
}

void ChangesMesh(Trial& t, std::string_view check, const std::vector<std::string>& saved, const Mesh& from,
                 const std::vector<std::string>& wanted, const Mesh& to) {
  for (const std::string& one : saved) {
    for (const std::string& other : wanted) {
      const Reshard reshard = SaveAndLoad(t, from, one, to, other, {.format = FormatOf(t)});
      IsWhole(t, check, one + " into " + other, reshard.loaded);
    }
  }
}

Mesh OneDim(Trial& t) { return t.subject().InitMesh({t.world_size()}); }
Mesh TwoDims(Trial& t) { return t.subject().InitMesh({2, t.world_size() / 2}); }

// Rows of a column of 16, from offset on.
using Rows = std::vector<std::pair<int64_t, int64_t>>;
std::vector<storage::ShardPlace> PlacesOf(const Rows& rows) {
  std::vector<storage::ShardPlace> places;
  for (const auto& [offset, length] : rows) {
    places.push_back({static_cast<int64_t>(places.size()), {offset, 0}, {length, 1}});
  }
  return places;
}

void UnevenReshard(Trial& t, std::string_view check, const Rows& saved, const Rows& wanted) {
  const at::Tensor whole = Counting({16, 1});
  SaveCheckpoint(t.caller(), {{"checkpointable_tensor", storage::ShardedOf(t, whole, PlacesOf(saved))}}, "checkpoint");
  const Value target = storage::ShardedOf(t, Uniform({16, 1}), PlacesOf(wanted));
  const Dict loaded = LoadCheckpoint(t.caller(), {{"checkpointable_tensor", target}}, "checkpoint");
  const auto& [offset, length] = wanted[static_cast<size_t>(t.rank())];
  const ShardedTensor& tensor = loaded.At("checkpointable_tensor").AsShardedTensor();
  t.Check(check, SameValue("rows of this rank", whole.narrow(0, offset, length), tensor.local_shards.at(0).tensor));
}

}  // namespace

PORT(test_1d_to_1d_reshard_placement_change) {
  const Mesh mesh = OneDim(t);
  const std::string stream = t.TextParam("stream");
  const SaveOptions options{.format = FormatOf(t), .stream = stream == "none" ? "" : stream};
  ChangesPlacements(t, {"C1", "C2"}, mesh, "R", "S0", options);
  ChangesPlacements(t, {"C1", "C2"}, mesh, "S0", "R", options);
}

PORT(test_2d_to_2d_reshard_placement_change) {
  const Mesh mesh = TwoDims(t);
  for (const std::string& saved : kTwoDims) {
    for (const std::string& wanted : kTwoDims) {
      if (saved != wanted) ChangesPlacements(t, {"C1", "C2"}, mesh, saved, wanted, {.format = FormatOf(t)});
    }
  }
}

PORT(test_1d_to_2d_reshard_mesh_change) { ChangesMesh(t, "C1", kOneDim, OneDim(t), kTwoDims, TwoDims(t)); }

PORT(test_2d_to_1d_reshard_mesh_change) { ChangesMesh(t, "C1", kTwoDims, TwoDims(t), kOneDim, OneDim(t)); }

PORT(test_dtensor_checkpoint_resharding_with_empty_shard) {
  const at::Tensor whole = Uniform({1}, 1);
  const Value saved = t.subject().Distribute(whole, OneDim(t), PlacementsOf("S0"));
  const Value target = t.subject().Distribute(Uniform({1}, 2), TwoDims(t), PlacementsOf("S0.S0"));
  Dict loaded;
  t.NoError("C1", [&] {
    SaveCheckpoint(t.caller(), {{"dtensor", saved}}, "checkpoint", {.format = FormatOf(t)});
    loaded = LoadCheckpoint(t.caller(), {{"dtensor", target}}, "checkpoint", {.format = FormatOf(t)});
  });
  t.Strict("C1", SameValue("after the load", whole, t.subject().FullTensor(loaded.At("dtensor"))));
}

PORT(test_dtensor_checkpoint_with_uneven_shards) {
  const at::Tensor whole = Counting({14, 1});
  const Value saved = t.subject().Distribute(whole, OneDim(t), PlacementsOf("S0"));
  Dict loaded;
  t.NoError("C1", [&] {
    SaveCheckpoint(t.caller(), {{"uneven_sharded_dtensor", saved}}, "checkpoint");
    loaded = LoadCheckpoint(t.caller(), {{"uneven_sharded_dtensor", Uniform({14, 1})}}, "checkpoint");
  });
  t.Strict("C1", SameValue("after the load", whole, loaded.At("uneven_sharded_dtensor")));
}

PORT(test_uneven_reshard_with_checkpointable_api) {
  UnevenReshard(t, "C1", {{0, 4}, {4, 3}, {7, 4}, {11, 5}}, {{0, 2}, {2, 4}, {6, 6}, {12, 4}});
}

PORT(test_uneven_reshard_with_dtensor_shards_wrapper_api) {
  UnevenReshard(t, "C1", {{0, 4}, {4, 3}, {7, 4}, {11, 5}}, {{0, 6}, {6, 2}, {8, 1}, {9, 7}});
}

}  // namespace shardcts::dcp
