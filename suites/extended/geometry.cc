// Geometry: which part of a tensor a rank holds, and what gathering the parts gives.
#include <ATen/ATen.h>

#include "suites/extended/chunks.h"
#include "suites/extended/coded.h"
#include "suites/extended/comparison.h"
#include "suites/extended/forms.h"
#include "suites/extended/optimizer_state.h"
#include "suites/extended/rule.h"
#include "suites/extended/wrapping.h"

namespace shardcts::extended {
namespace {

// One parameter (n, 3) for each n = 1 … 2W + 1.
ModelSpec AllSizesUpTo(int64_t last) {
  List shapes;
  for (int64_t n = 1; n <= last; ++n) shapes.push_back(ToValue(std::vector<int64_t>{n, 3}));
  return {.name = "uneven_parameters", .args = {{"shapes", shapes}}};
}

// The rows that the rank must hold of `full`.
at::Tensor RowsOf(const Trial& t, const at::Tensor& full) {
  const Chunk chunk = ChunkOf(full.size(0), t.world_size(), t.rank());
  return full.narrow(0, chunk.offset, chunk.size);
}

void HasRowsOfRank(Trial& t, const std::string& name, const at::Tensor& full, const DTensor& actual) {
  t.Rule(Equal(name + ": global shape", full.sizes().vec(), actual.shape));
  t.Rule(SameValue(fmt::format("{}: rows of rank {}", name, t.rank()), RowsOf(t, full), actual.local));
}

// The metadata names every chunk that has rows, in the order of the ranks.
void HasRowsOfRank(Trial& t, const std::string& name, const at::Tensor& full, const ShardedTensor& actual) {
  t.Rule(Equal(name + ": global shape", full.sizes().vec(), actual.shape));
  std::string expected, found;
  const auto add = [](std::string& text, int64_t rank, int64_t offset, int64_t size) {
    text += fmt::format("{}rank {}: [{}, {})", text.empty() ? "" : ", ", rank, offset, offset + size);
  };
  for (int rank = 0; rank < t.world_size(); ++rank) {
    const Chunk chunk = ChunkOf(full.size(0), t.world_size(), rank);
    if (chunk.size > 0) add(expected, rank, chunk.offset, chunk.size);
  }
  for (const ShardMetadata& shard : actual.metadata) add(found, shard.rank, shard.offsets.at(0), shard.sizes.at(0));
  t.Rule(Equal(name + ": rows of the shards", expected, found));
  const at::Tensor rows = RowsOf(t, full);
  if (!t.Rule(Equal<size_t>(name + ": local shards", rows.size(0) > 0, actual.local_shards.size()))) return;
  for (const LocalShard& shard : actual.local_shards) {
    t.Rule(SameValue(fmt::format("{}: rows of rank {}", name, t.rank()), rows, shard.tensor));
  }
}

void HasRowsOfRank(Trial& t, const std::string& name, const at::Tensor& full, const Value& actual) {
  if (const auto* dtensor = actual.TryAs<DTensor>()) return HasRowsOfRank(t, name, full, *dtensor);
  return HasRowsOfRank(t, name, full, actual.AsShardedTensor());
}

}  // namespace

RULE(GE1) {
  const std::string wrapper = t.TextParam("wrapper");
  const bool fsdp = wrapper == "fsdp";
  const ModelSpec spec = AllSizesUpTo(2 * t.world_size() + 1);
  Model model = BuildCoded(t, spec);
  const Dict full = CodedLike(model.Parameters());
  const Dict moments = CodedAdamState(full);
  Wrap(t, model, spec, wrapper);
  if (t.TextParam("entries") == "parameters") {
    const Dict state = GetState(model, fsdp ? "sharded" : "native");
    for (const auto& [name, value] : full) HasRowsOfRank(t, ToString(name), value.AsTensor(), state.At(name));
    return;
  }
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  SetOptimizerState(model, {optimizer}, fsdp ? "full" : "dsd_full", CodedAdamStateDict(full));
  const Dict state = GetOptimizerState(model, {optimizer}, fsdp ? "sharded" : "dsd_sharded").At("state").AsDict();
  for (const auto& [name, value] : moments) {
    for (const char* moment : {"exp_avg", "exp_avg_sq"}) {
      HasRowsOfRank(t, ToString(name) + "." + moment, value.AsDict().At(moment).AsTensor(),
                    state.At(name).AsDict().At(moment));
    }
  }
}

}  // namespace shardcts::extended
