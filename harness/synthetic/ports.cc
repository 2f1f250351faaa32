#include <ATen/ATen.h>

#include <filesystem>
#include <fstream>

#include "inventory/phases.h"
#include "rank/trial.h"
#include "synthetic/synthetic_suite.h"

namespace shardcts {

std::vector<Suite> AllPorts() {
  return {{"synthetic", {{"test_empty", &synthetic::test_empty},
                         {"test_walk", &synthetic::test_walk},
                         {"test_handover", &synthetic::test_handover},
                         {"test_handover_lost", &synthetic::test_handover_lost}}}};
}

namespace synthetic {
namespace {

// The file of a rank that saves, and what it says: a closed formula, so that a load knows it.
std::filesystem::path FileOf(Trial& t, int rank) { return std::filesystem::path(t.Folder()) / ("rank-" + std::to_string(rank)); }
std::string TextOf(int rank, int world_size) { return std::to_string(1000 * world_size + 7 * rank); }

// Operations of the implementation, in which a fault can show.
void UseModel(Trial& t) {
  t.subject().Seed(1);
  Model model = t.subject().Build("linear", {{"in", 4}, {"out", 4}, {"bias", false}});
  model.FullyShard("", {});
  model.Forward({at::ones({4, 4})});
}

void Save(Trial& t, bool loses) {
  t.Check("C1", Holds(std::filesystem::is_empty(t.Folder()), "the test's folder", "is empty"));
  t.AllGather(Value());  // before anyone writes
  UseModel(t);
  if (loses && t.rank() == t.world_size() - 1) return;
  std::ofstream(FileOf(t, t.rank())) << TextOf(t.rank(), t.world_size());
}

void Load(Trial& t) {
  UseModel(t);
  const int saved = t.Phases().front().world_size;
  for (int rank = 0; rank < saved; ++rank) {
    std::string text;
    std::ifstream(FileOf(t, rank)) >> text;
    t.Check("C2", Equal("what rank " + std::to_string(rank) + " saved", TextOf(rank, saved), text));
  }
}

bool IsFinite(const Value& value) { return LocalPart(value).isfinite().all().item<bool>(); }

}  // namespace

PORT(test_empty) {}

PORT(test_handover) {
  if (t.Phase().role == "save") Save(t, false);
  if (t.Phase().role == "load") Load(t);
}

PORT(test_handover_lost) {
  if (t.Phase().role == "save") Save(t, true);
  if (t.Phase().role == "load") Load(t);
}

PORT(test_walk) {
  const int64_t walk = t.IntParam("walk");
  const int64_t dim = 2 + walk % 4;
  t.subject().Seed(walk);
  Model model = t.subject().Build("linear", {{"in", dim}, {"out", dim}, {"bias", false}});
  model.FullyShard("", {.reshard_after_forward = walk % 2 == 0});
  Optimizer optimizer = t.subject().CreateOptimizer(model, "sgd", {.lr = 1e-3});
  const auto weight = [&] { return t.subject().FullTensor(model.StateDict().At("weight")); };
  for (int64_t step = 0; step < 2 + walk % 3; ++step) {
    const Value output = model.Forward({at::ones({dim, dim})});
    if (IsFinite(output)) {
      model.Backward(output);
      optimizer.Step();
      optimizer.ZeroGrad();
    }
    if (!IsFinite(weight())) model.BroadcastParameters(0);
  }
  t.Check("C1", Holds(IsFinite(weight()), "weight", "is finite"));
}

}  // namespace synthetic
}  // namespace shardcts
