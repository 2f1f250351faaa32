// Memory: what the calls allocate.
#include <ATen/ATen.h>

#include <limits>

#include "rank/allocated_memory.h"
#include "suites/extended/chunks.h"
#include "suites/extended/forms.h"
#include "suites/extended/optimizer_state.h"
#include "suites/extended/rule.h"
#include "suites/extended/training.h"
#include "suites/extended/twin.h"

namespace shardcts::extended {
namespace {

// Of rank 0, which has no padding: the most that any rank needs for a part.
int64_t LargestPartBytes(const Trial& t, const DTensor& tensor) {
  const int64_t rows = tensor.shape.empty() ? 1 : ChunkOf(tensor.shape.front(), t.world_size(), 0).size;
  int64_t row = 1;
  for (size_t dim = 1; dim < tensor.shape.size(); ++dim) row *= tensor.shape[dim];
  return rows * row * static_cast<int64_t>(tensor.local.element_size());
}

void StorageIsItsPart(Trial& t, const std::string& name, const Value& value) {
  if (!t.Rule(IsDTensor(name, value))) return;
  const DTensor& tensor = value.AsDTensor();
  const auto bytes = static_cast<int64_t>(tensor.local.storage().nbytes());
  const int64_t limit = LargestPartBytes(t, tensor);
  t.Rule(Holds(bytes <= limit, name, fmt::format("storage: expected at most {} bytes, actual {}", limit, bytes)));
}

constexpr int64_t kLargestView = 64 * 1024;
constexpr int64_t kHalfOfNineModels = 9 * 404 / 2;  // a leak of one small model a cycle is twice as much
constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max() / 2;

// One layer of 4 MiB.
ModelSpec LargeLayer() { return {.name = "linear", .args = {{"in", 1024}, {"out", 1024}, {"bias", false}}}; }

}  // namespace

RULE(ME3) {
  const std::string form = t.TextParam("form");
  const bool from_meta = t.TextParam("built_on") == "meta";
  const ModelSpec spec = TrainedStack();
  const Dict values = Twin(spec).StateDict();
  Model model = BuildCoded(t, spec, from_meta ? "meta" : "");
  Wrap(t, model, spec, "fully_shard");
  const bool gives = form != "dsd_broadcast" || t.rank() == 0;
  SetState(model, form, gives ? values : Dict{});
  for (const auto& [name, value] : model.Parameters()) StorageIsItsPart(t, ToString(name), value);
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  SetOptimizerState(model, {optimizer}, form, gives ? CodedAdamStateDict(values) : Dict{});
  for (const auto& [name, state] : GetOptimizerState(model, {optimizer}, "dsd_sharded").At("state").AsDict()) {
    for (const char* moment : {"exp_avg", "exp_avg_sq"}) {
      StorageIsItsPart(t, ToString(name) + "." + moment, state.AsDict().At(moment));
    }
  }
}

RULE(ME4) {
  const ModelSpec spec = LargeLayer();
  Model model = t.subject().Build(spec.name, spec.args, t.device());
  Wrap(t, model, spec, t.TextParam("wrapper"));
  const std::string form = t.TextParam("form");
  GetState(model, form);  // the first call may set things up
  Dict state;
  const AllocatedBytes used = CountAllocatedBytes({.peak = kLargestView, .left = kLargestView},
                                                  [&] { state = GetState(model, form); });
  t.Rule(Holds(used.peak < kLargestView, "a get of live values", fmt::format("allocated {} bytes", used.peak)));
  t.Rule(Equal<size_t>("entries", 1, state.size()));
}

RULE(ME5) {
  const std::string form = t.TextParam("form");
  const ModelSpec spec = TrainedStack();
  Model model = BuildWrapped(t, spec, t.TextParam("wrapper"));
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  const auto cycle = [&] {
    const Dict values = GetState(model, form);
    const Dict state = GetOptimizerState(model, {optimizer}, form);
    SetState(model, form, values);
    SetOptimizerState(model, {optimizer}, form, state);
    Dict refused = values;
    refused.Set("not there", at::zeros({1}));
    t.RuleRaises("RuntimeError", "", [&] { SetState(model, form, refused); });
  };
  for (int i = 0; i < 2; ++i) cycle();
  // State may be replaced by each cycle, and be freed late: both leave something that does not grow.
  const auto left_by = [&](int cycles) {
    return CountAllocatedBytes({.peak = kNoLimit, .left = kNoLimit}, [&] {
      for (int i = 0; i < cycles; ++i) cycle();
    }).left;
  };
  const int64_t one = left_by(1);
  const int64_t ten = left_by(10);
  t.Rule(Holds(ten - one < kHalfOfNineModels, "bytes left by ten cycles and by one", fmt::format("{} and {}", ten, one)));
}

}  // namespace shardcts::extended
