// Memory: what the calls allocate.
#include <ATen/ATen.h>

#include <limits>

#include "contract/fsdp_optim.h"
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

// Seven layers of 1 MiB, each a unit of its own; the root manages nothing.
constexpr int64_t kWidth = 512;
constexpr int64_t kLayers = 7;
constexpr int64_t kLayerBytes = kWidth * kWidth * 4;
constexpr int64_t kTensorsInFlight = 3;     // whole ones: what is sent, what is received, and a copy
constexpr int64_t kSmallBytes = 128 * 1024;  // names, counters, messages

ModelSpec SevenLayers() {
  ModelSpec spec = {.name = "linear_stack",
                    .args = {{"sizes", ToValue(std::vector<int64_t>(kLayers + 1, kWidth))}, {"bias", false}}};
  for (int64_t i = 0; i < kLayers; ++i) spec.units.push_back(std::to_string(i));
  return spec;
}

Model BuildSevenLayers(Trial& t, const std::string& wrapper, const std::string& device) {
  Model model = t.subject().Build("linear_stack", SevenLayers().args, device);
  Wrap(t, model, SevenLayers(), wrapper);
  return model;
}

// What a call of a model's or an optimizer's state takes on this rank, at its peak and afterwards.
void TakesAtMost(Trial& t, const std::string& call, int64_t kept, const std::function<void()>& body) {
  const int64_t peak = kept + kTensorsInFlight * kLayerBytes + kSmallBytes;
  const AllocatedBytes used = CountAllocatedBytes({.peak = peak, .left = kept + kSmallBytes}, body);
  t.Rule(Holds(used.peak <= peak, call, fmt::format("peak: expected at most {} bytes, actual {}", peak, used.peak)));
  t.Rule(Holds(used.left <= kept + kSmallBytes, call,
               fmt::format("kept: expected at most {} bytes, actual {}", kept + kSmallBytes, used.left)));
}

Dict GetForRank0(Model& model, const std::string& wrapper) {
  if (wrapper == "fully_shard") return GetState(model, "dsd_offload");
  Dict state;
  WithStateDictType(model, StateDictKind::kFull, {.offload_to_cpu = true, .rank0_only = true},
                    [&] { state = model.StateDict(); });
  return state;
}

Dict GetOptimizerForRank0(Model& model, const Optimizer& optimizer, const std::string& wrapper) {
  if (wrapper == "fully_shard") return GetOptimizerState(model, {optimizer}, "dsd_offload");
  Dict state;
  const StateDictConfig config{.rank0_only = true, .optim = OptimStateDictConfig{.rank0_only = true}};
  WithStateDictType(model, StateDictKind::kFull, config, [&] { state = OptimStateDict(model, optimizer); });
  return state;
}

}  // namespace

RULE(ME1) {
  const std::string wrapper = t.TextParam("wrapper");
  Model model = BuildSevenLayers(t, wrapper, t.device());
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  optimizer.InitState();
  GetState(model, wrapper == "fully_shard" ? "native" : "local");  // the first call may set things up
  const int64_t whole = t.rank() == 0 ? kLayers * kLayerBytes : 0;
  Dict values, state;
  if (t.TextParam("of") == "model") {
    TakesAtMost(t, "a get of the model", whole, [&] { values = GetForRank0(model, wrapper); });
    t.Rule(Equal<size_t>("entries", t.rank() == 0 ? kLayers : 0, values.size()));
  } else {
    TakesAtMost(t, "a get of the optimizer", 2 * whole,
                [&] { state = GetOptimizerForRank0(model, optimizer, wrapper); });
    t.Rule(Holds(t.rank() > 0 || state.Contains("state"), "the optimizer's dict of rank 0", "has no state"));
  }
}

RULE(ME2) {
  const std::string wrapper = t.TextParam("wrapper");
  const std::string of = t.TextParam("of");
  Model source = BuildSevenLayers(t, wrapper, t.device());
  Optimizer of_source = t.subject().CreateOptimizer(source, "adam");
  of_source.InitState();
  const Dict values = of == "optimizer" ? Dict{} : GetState(source, "dsd_offload");
  const Dict state = of == "optimizer" ? GetOptimizerState(source, {of_source}, "dsd_offload") : Dict{};

  Model model = BuildSevenLayers(t, wrapper, of == "model_on_meta" ? "meta" : t.device());
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  // Of rank 0 the rule says nothing: it has the whole tensors.
  const int64_t at_rank_0 = t.rank() == 0 ? 3 * kLayers * kLayerBytes : 0;
  const int64_t shards = kLayers * kLayerBytes / t.world_size();
  if (of == "optimizer") {
    TakesAtMost(t, "a load of the optimizer", 2 * shards + at_rank_0,
                [&] { SetOptimizerState(model, {optimizer}, "dsd_broadcast", state); });
    t.Rule(Equal<size_t>("parameters with state", kLayers, optimizer.StateDict().At("state").AsDict().size()));
  } else {
    TakesAtMost(t, "a load of the model", (of == "model_on_meta" ? shards : 0) + at_rank_0,
                [&] { SetState(model, "dsd_broadcast", values); });
  }
}

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

RULE(ME6) {
  Model model = BuildSevenLayers(t, t.TextParam("wrapper"), t.device());
  const Value input(at::ones({2, kWidth}).to(c10::Device(t.device())));
  const int64_t kept = kLayers * kLayerBytes / t.world_size() + kSmallBytes;  // the gradients of this rank's shards
  const AllocatedBytes used = CountAllocatedBytes({.peak = kNoLimit, .left = kept},
                                                  [&] { model.Backward(model.Forward({input})); });
  t.Rule(Holds(used.left <= kept, "a forward and a backward",
               fmt::format("kept: expected at most {} bytes, actual {}", kept, used.left)));
}

}  // namespace shardcts::extended
