// Stages of a pipeline and experts: each on ranks of its own.
#include <ATen/ATen.h>

#include "rank/session.h"
#include "suites/rules/coded.h"
#include "suites/storage/placed.h"
#include "suites/storage/rule.h"

namespace shardcts::storage {
namespace {

constexpr int64_t kLayers = 12;  // so that the number of one begins with that of another
constexpr int64_t kRows = 5;

std::string LayerName(int64_t layer) { return fmt::format("layers.{}.weight", layer); }
std::string ExpertName(int64_t expert) { return fmt::format("experts.{}.weight", expert); }

at::Tensor Layer(int64_t layer) { return rules::Coded({kRows, 2}, layer, 2); }
at::Tensor Expert(int64_t expert) { return rules::Coded({3, kRows}, kLayers + expert, 2); }

// Ranks are stages × shards: a stage has layers of its own, in shards over its ranks, and each rank an expert.
struct Pipeline {
  explicit Pipeline(Trial& t) : stages(2), shards(t.world_size() / 2), rank(t.rank()) {
    for (int64_t stage = 0; stage < stages; ++stage) {
      std::vector<int64_t> ranks;
      for (int64_t shard = 0; shard < shards; ++shard) ranks.push_back(stage * shards + shard);
      worlds.emplace_back(t, ranks);
    }
  }
  int64_t stage() const { return rank / shards; }
  DTensor Part(const at::Tensor& whole, int64_t of_stage) const {
    return PartOf(whole, worlds[static_cast<size_t>(of_stage)].layout(), PlacementsOf("S0"), rank);
  }

  int64_t stages;
  int64_t shards;
  int64_t rank;
  std::vector<World> worlds;
};

// The layers of this rank's stage and its experts; with `blank` as destinations.
Dict StageState(const Pipeline& pipeline, int64_t experts, int64_t world_size, bool blank) {
  const auto filled = [&](at::Tensor tensor) { return blank ? at::zeros_like(tensor) : tensor; };
  Dict state;
  const int64_t per_stage = kLayers / pipeline.stages;
  for (int64_t layer = pipeline.stage() * per_stage; layer < (pipeline.stage() + 1) * per_stage; ++layer) {
    state.Set(LayerName(layer), pipeline.Part(filled(Layer(layer)), pipeline.stage()));
  }
  for (int64_t expert = pipeline.rank; expert < experts; expert += world_size) {
    state.Set(ExpertName(expert), filled(Expert(expert)));
  }
  return state;
}

}  // namespace

RULE(OM4) {
  constexpr int64_t kExperts = 12;
  if (!Saves(t) && t.world_size() == 1) {
    const Dict read = ReadCheckpoint(t.caller(), "checkpoint");
    t.Rule(Equal<size_t>("names", kLayers + kExperts, read.size()));
    for (int64_t i = 0; i < kLayers; ++i) t.Rule(SameValue(LayerName(i), Layer(i), read.At(LayerName(i))));
    for (int64_t i = 0; i < kExperts; ++i) t.Rule(SameValue(ExpertName(i), Expert(i), read.At(ExpertName(i))));
    return;
  }
  const Pipeline pipeline(t);
  const Dict state = StageState(pipeline, kExperts, t.world_size(), false);
  if (!Saves(t)) {
    const Dict destination = StageState(pipeline, kExperts, t.world_size(), true);
    return t.Rule(SameValue("what was loaded", state, LoadCheckpoint(t.caller(), destination, "checkpoint"))), void();
  }
  SaveCheckpoint(t.caller(), state, "checkpoint");
  // The first layer of both stages under one name: parts that do not tile one tensor.
  const at::Tensor first = rules::Coded({kRows + 2 * pipeline.stage(), 2}, 1);
  IsRefused(t, "a save of two stages with one name", {},
            [&] { SaveCheckpoint(t.caller(), {{"layers.0", pipeline.Part(first, pipeline.stage())}}, "one_name"); });
}

}  // namespace shardcts::storage
