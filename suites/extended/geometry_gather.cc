// Geometry: what gathering the parts gives, and what padding must not do.
#include <ATen/ATen.h>

#include "rank/whole.h"
#include "contract/fsdp.h"
#include "suites/extended/chunks.h"
#include "suites/extended/coded.h"
#include "suites/extended/comparison.h"
#include "suites/extended/forms.h"
#include "suites/extended/optimizer_state.h"
#include "suites/extended/trees.h"
#include "suites/extended/rule.h"
#include "suites/extended/twin.h"
#include "suites/extended/wrapping.h"

namespace shardcts::extended {
namespace {

Value Shape(std::vector<int64_t> shape) { return ToValue(shape); }

// Sizes that no number of ranks but one divides, and a tensor of one element.
const ModelSpec kGathered = {.name = "linear_stack",
                             .args = {{"sizes", ToValue(std::vector<int64_t>{3, 5, 1, 2})}},
                             .units = {"0"},
                             .plan = {{"0", "colwise"}, {"1", "rowwise"}}};

Dict GatheredBy(const std::string& way, Trial& t, Model& model) {
  if (way == "full" || way == "dsd_full") return GetState(model, way);
  if (way == "sharded_gather") return GatherStateDict(model.caller(), GetState(model, "sharded"));
  Dict state = GetState(model, "native");
  for (auto& [name, value] : state) {
    if (value.type() == Value::Type::kDTensor) value = t.subject().FullTensor(value);
  }
  return state;
}

// Every element of the storage that the local part of a tensor does not show.
void FillPadding(const at::Tensor& local, double value) {
  const at::Tensor plain = local.detach();
  const int64_t elements = static_cast<int64_t>(plain.storage().nbytes() / plain.element_size());
  const int64_t first = plain.storage_offset() + plain.numel();
  if (elements > first) plain.as_strided({elements - first}, {1}, first).fill_(value);
}

// Elements at the end of this rank's shard of a flat parameter that no member has. Source: docs/semantics.md, FSDP1.
void FillFlatPadding(const Trial& t, const at::Tensor& shard, int64_t members, double value) {
  const Chunk real = ChunkOf(members, t.world_size(), t.rank());
  const at::Tensor plain = shard.detach();
  if (plain.numel() > real.size) plain.narrow(0, real.size, plain.numel() - real.size).fill_(value);
}

void FillAllPadding(const Trial& t, const Model& model, double value) {
  for (const auto& [name, parameter] : model.Parameters()) {
    if (const auto* dtensor = parameter.TryAs<DTensor>()) {
      FillPadding(dtensor->local, value);
    } else {
      FillFlatPadding(t, parameter.AsTensor(), (t.world_size() + 1) * (t.world_size() + 1), value);
    }
  }
}

// The members in the LOCAL state dict of one unit with use_orig_params: each begins at a multiple of 16 bytes.
void LiesAligned(Trial& t, const Dict& members, const Dict& local) {
  constexpr int64_t kAlignment = 16;
  const at::Tensor flat = WholeDict(t, local).At("_flat_param").AsTensor();
  int64_t begin = 0;
  for (const auto& [name, value] : members) {
    const at::Tensor expected = value.AsTensor().flatten();
    const int64_t aligned = kAlignment / expected.element_size();
    begin = (begin + aligned - 1) / aligned * aligned;
    const std::string what = fmt::format("LOCAL: {} at element {}", ToString(name), begin);
    if (!t.Rule(Holds(begin + expected.numel() <= flat.numel(), what, fmt::format("of {}", flat.numel())))) return;
    t.Rule(SameValue(what, expected, flat.narrow(0, begin, expected.numel())));
    begin += expected.numel();
  }
}

}  // namespace

RULE(GE4) {
  Model model = BuildWrapped(t, kGathered, t.TextParam("wrapper"));
  const std::string way = t.TextParam("way");
  SameState(t, way, Twin(kGathered).StateDict(), GatheredBy(way, t, model));
}

RULE(GE5) {
  const bool tp = t.TextParam("wrapper") == "tp";
  // The size 6 is the largest, and the one that is split.
  const ModelSpec spec = tp ? ModelSpec{.name = "linear_stack", .args = {{"sizes", Shape({6, 4})}}, .plan = {{"0", "rowwise"}}}
                            : ModelSpec{.name = "uneven_parameters",
                                        .args = {{"shapes", List{Shape({2, 6, 5}), Shape({2, 5, 6})}}}};
  Model model = BuildCoded(t, spec);
  tp ? Wrap(t, model, spec, "tp") : model.FullyShard("", {.shard_placement = "largest_dim"});
  const Dict state = model.StateDict();
  for (const auto& [name, value] : Twin(spec).StateDict()) {
    const at::Tensor full = value.AsTensor();
    if (full.dim() == 1) continue;  // the bias is replicated
    const std::vector<int64_t> sizes = full.sizes().vec();
    const int64_t dim = std::ranges::max_element(sizes) - sizes.begin();
    const DTensor& sharded = state.At(name).AsDTensor();
    const Chunk chunk = ChunkOf(full.size(dim), t.world_size(), t.rank());
    const std::string what = ToString(name) + fmt::format(": slices of dimension {}", dim);
    t.Rule(Equal(what, ToString(std::vector{Placement::Shard(dim)}), ToString(sharded.placements)));
    t.Rule(SameValue(what, full.narrow(dim, chunk.offset, chunk.size).contiguous(), sharded.local));
    t.Rule(SameValue(ToString(name) + ": gathered", full, t.subject().FullTensor(state.At(name)).AsTensor().cpu()));
  }
}

RULE(GE6) {
  const int64_t even = 2 * t.world_size();
  const ModelSpec spec = {.name = "uneven_parameters", .args = {{"shapes", List{Shape({2, even}), Shape({2, even + 1})}}}};
  Model model = BuildCoded(t, spec);
  t.RuleRaises("NotImplementedError", "uneven sharding", [&] {
    model.FullyShard("", {.shard_placement = "largest_dim"});
  });
  const Dict parameters = model.Parameters();
  for (const auto& [name, value] : Twin(spec).Parameters()) {
    const std::string what = ToString(name) + " after the error";
    if (t.Rule(IsPlainTensor(what, parameters.At(name)))) {
      t.Rule(SameValue(what, value, parameters.At(name).AsTensor().detach()));
    }
  }
}

RULE(GE10) {
  const std::string wrapper = t.TextParam("wrapper");
  const int64_t world = t.world_size();
  // W + 1 rows; the flat parameter has (W + 1)² elements, of which W ranks have one too many.
  const ModelSpec spec = {.name = "linear", .args = {{"in", world}, {"out", world + 1}}};
  const auto outcome = [&](double padding) {
    Model model = BuildWrapped(t, spec, wrapper);
    Optimizer optimizer = t.subject().CreateOptimizer(model, "sgd", {.lr = 0.5});
    FillAllPadding(t, model, padding);
    const Value output = model.Forward({Value(at::ones({2, world}))});
    model.Backward(output);
    optimizer.Step();
    FillAllPadding(t, model, padding);
    Dict found = GetState(model, "dsd_full");
    found.Set("output", output.AsTensor().detach().clone());
    for (const auto& [name, value] : GetState(model, wrapper == "fully_shard" ? "native" : "sharded")) {
      found.Set("part of " + ToString(name), value);
    }
    return found;
  };
  SameState(t, "with NaN in the padding", outcome(0), outcome(std::nan("")));
}

RULE(GE11) {
  const std::string wrapper = t.TextParam("wrapper");
  const ModelSpec spec = {.name = "uneven_parameters",
                          .args = {{"shapes", List{Shape({1}), Shape({3}), Shape({5}), Shape({7})}}}};
  const at::ScalarType dtype = t.TextParam("dtype") == "bfloat16" ? at::kBFloat16 : at::kFloat;
  Model model = BuildCoded(t, spec);
  model.Cast(t.TextParam("dtype"));
  Dict full;
  int64_t index = 0;
  for (const auto& [name, value] : Twin(spec).Parameters()) {
    full.Set(name, Coded(value.AsTensor().sizes(), index++, 0, dtype));
  }
  model.SetValues(full);
  Wrap(t, model, spec, wrapper);
  SameState(t, "FULL", full, GetState(model, "full"));
  SameWholeState(t, "SHARDED", full, GetState(model, "sharded"));
  if (wrapper == "fsdp_orig") LiesAligned(t, full, GetState(model, "local"));

  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  SetOptimizerState(model, {optimizer}, "full", CodedAdamStateDict(full));
  const Dict moments = GetOptimizerState(model, {optimizer}, "sharded").At("state").AsDict();
  for (const auto& [name, expected] : CodedAdamState(full)) {
    const Dict whole = WholeDict(t, moments.At(name).AsDict());
    for (const char* moment : {"exp_avg", "exp_avg_sq"}) {
      t.Rule(SameValue(ToString(name) + "." + moment, expected.AsDict().At(moment), whole.At(moment)));
    }
  }
}

RULE(GE15) {
  // 33,088 and 155,617 elements: uneven, and of a size for which a library may have ways of its own.
  const ModelSpec spec = {.name = "linear_stack",
                          .args = {{"sizes", ToValue(std::vector<int64_t>{64, 517, 301})}},
                          .units = {"0"}};
  const std::string wrapper = t.TextParam("wrapper"), form = t.TextParam("form");
  Model saved = BuildWrapped(t, spec, wrapper);
  HasState(t, "saved model", Twin(spec).StateDict(), saved, form);
  Model loaded = LoadedFromCoded(t, spec, wrapper, form);
  HasState(t, "loaded model", Twin(spec).StateDict(), loaded, form);
}

// Each rank has a part, but not the rows that come next in the order of ranks.
RULE(GE26) {
  const bool columns = t.TextParam("cut") == "columns";
  const at::Tensor whole = Coded({2 * t.world_size(), 2 * t.world_size()}, 1).to(c10::Device(t.device()));
  ShardedTensor sharded{.shape = whole.sizes().vec()};
  for (int64_t rank = 0; rank < t.world_size(); ++rank) {
    const int64_t first = 2 * (columns ? rank : t.world_size() - 1 - rank);
    ShardMetadata part;
    part.offsets = columns ? std::vector<int64_t>{0, first} : std::vector<int64_t>{first, 0};
    part.sizes = columns ? std::vector<int64_t>{whole.size(0), 2} : std::vector<int64_t>{2, whole.size(1)};
    part.rank = rank;
    part.device = whole.device().str();
    if (rank == t.rank()) sharded.local_shards = {{part, whole.narrow(columns ? 1 : 0, first, 2).clone()}};
    sharded.metadata.push_back(part);
    sharded.ranks.push_back(rank);
  }
  t.Rule(SameValue("the whole", whole, GatherSharded(t.caller(), sharded)));
}

}  // namespace shardcts::extended
