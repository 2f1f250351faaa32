// Geometry: which part of a tensor a rank holds. Gathering is in geometry_gather.cc, meshes of several dimensions in
// geometry_meshes.cc.
#include <ATen/ATen.h>

#include "suites/extended/chunks.h"
#include "suites/extended/coded.h"
#include "suites/extended/comparison.h"
#include "suites/extended/forms.h"
#include "suites/extended/optimizer_state.h"
#include "suites/extended/rule.h"
#include "suites/extended/tiling.h"
#include "suites/extended/twin.h"
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

// Uneven everywhere, some with fewer rows than ranks; under tensor parallelism sharded on dimension 0, 1, 0.
const ModelSpec kUnevenStack = {.name = "linear_stack",
                                .args = {{"sizes", ToValue(std::vector<int64_t>{2, 5, 7, 1})}},
                                .units = {"1"},
                                .plan = {{"0", "colwise"}, {"1", "rowwise"}, {"2", "colwise"}}};

std::string SavedForm(std::string_view wrapper) { return wrapper == "fsdp" ? "sharded" : "native"; }

// Whether a tensor has a copy on another rank, that of the first coordinate in each mesh dimension that replicates it.
bool IsCopy(const Value& value, int64_t rank) {
  const auto* dtensor = value.TryAs<DTensor>();
  if (!dtensor) return false;
  const std::vector<int64_t> coordinate = *dtensor->mesh.Coordinate(rank);
  for (size_t d = 0; d < coordinate.size(); ++d) {
    if (!dtensor->placements[d].IsShard() && coordinate[d] > 0) return true;
  }
  return false;
}

// What the metadata says tiles the rows, and is what its rank holds.
void MetadataTiles(Trial& t, const std::string& name, const ShardedTensor& tensor) {
  int64_t next = 0;
  for (const ShardMetadata& shard : tensor.metadata) {
    t.Rule(Equal(fmt::format("{}: first row of the shard of rank {}", name, shard.rank), next, shard.offsets.at(0)));
    next += shard.sizes.at(0);
  }
  t.Rule(Equal(name + ": rows of all shards", tensor.shape.at(0), next));
  for (const LocalShard& shard : tensor.local_shards) {
    t.Rule(Equal(name + ": shape of the local shard", shard.metadata.sizes, shard.tensor.sizes().vec()));
  }
}

void HasShapeAndStride(Trial& t, const std::string& name, const at::Tensor& full, const Value& actual) {
  const auto* dtensor = actual.TryAs<DTensor>();
  const std::vector<int64_t> shape = dtensor ? dtensor->shape : actual.AsShardedTensor().shape;
  t.Rule(Equal(name + ": global shape", full.sizes().vec(), shape));
  if (dtensor) t.Rule(Equal(name + ": global stride", full.strides().vec(), dtensor->stride));
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

RULE(GE2) {
  const std::string wrapper = t.TextParam("wrapper");
  const bool one_dimension = MeshShapeOf(wrapper, t.world_size()).size() == 1;
  Model model = BuildWrapped(t, kUnevenStack, wrapper);
  const Dict full = Twin(kUnevenStack).StateDict();
  const Dict state = GetState(model, SavedForm(wrapper));
  const std::vector<Value> of_ranks = t.AllGather(state);
  for (const auto& [key, value] : full) {
    const std::string name = ToString(key);
    std::vector<std::vector<at::Tensor>> parts;
    std::vector<at::Tensor> all;
    for (size_t rank = 0; rank < of_ranks.size(); ++rank) {
      const Value& of_rank = of_ranks[rank].AsDict().At(key);
      if (IsCopy(of_rank, static_cast<int64_t>(rank))) continue;
      parts.push_back(PartsOf(of_rank));
      all.insert(all.end(), parts.back().begin(), parts.back().end());
    }
    t.Rule(Tile(name, value.AsTensor(), all));
    if (one_dimension) t.Rule(EmptyOnesAtTheEnd(name, parts));
    if (const auto* sharded = state.At(key).TryAs<ShardedTensor>()) MetadataTiles(t, name, *sharded);
  }
}

RULE(GE3) {
  const ModelSpec spec = {.name = "linear_stack", .args = {{"sizes", ToValue(std::vector<int64_t>{3, 2, 4})}}};
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, spec, t.TextParam("wrapper"));
  const Dict full = Twin(spec).StateDict();
  const Dict state = GetState(model, form);
  for (const auto& [name, value] : full) HasShapeAndStride(t, ToString(name), value.AsTensor(), state.At(name));
  if (form != "dsd_sharded") return;
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  SetOptimizerState(model, {optimizer}, "dsd_full", CodedAdamStateDict(full));
  const Dict moments = GetOptimizerState(model, {optimizer}, form).At("state").AsDict();
  for (const auto& [name, value] : full) {
    HasShapeAndStride(t, ToString(name) + ".exp_avg", value.AsTensor(), moments.At(name).AsDict().At("exp_avg"));
  }
}

RULE(GE12) {
  const std::string wrapper = t.TextParam("wrapper");
  const ModelSpec spec = {.name = "uneven_parameters",
                          .args = {{"shapes", List{ToValue(std::vector<int64_t>{0, 3}), ToValue(std::vector<int64_t>{3, 0}),
                                                   ToValue(std::vector<int64_t>{3, 2}),
                                                   ToValue(std::vector<int64_t>{2, 0, 3})}}}};
  Model model = BuildWrapped(t, spec, wrapper);
  const Dict full = Twin(spec).StateDict();
  if (wrapper != "ddp") {
    const Dict state = GetState(model, SavedForm(wrapper));
    t.Rule(SameNames("names", full.Keys(), state.Keys()));
    for (const auto& [name, value] : full) {
      HasRowsOfRank(t, ToString(name), value.AsTensor(), state.At(name));
      const auto* distributed = state.At(name).TryAs<DTensor>();
      if (distributed) t.Rule(Equal(ToString(name) + ": stride", value.AsTensor().strides().vec(), distributed->stride));
    }
  }
  SameState(t, "gathered", full, GetState(model, "dsd_full"));
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  SetState(model, "dsd_full", full);
  model.Backward(model.Forward({at::ones({2})}));
  optimizer.Step();
  const Dict stepped = GetState(model, "dsd_full");
  t.Rule(SameNames("names after a step", full.Keys(), stepped.Keys()));
  t.Rule(Equal("shape after a step", std::vector<int64_t>{3, 0}, GlobalShape(stepped.At("p1"))));
}

RULE(GE13) {
  const std::string wrapper = t.TextParam("wrapper");
  const ModelSpec spec = {.name = "uneven_parameters",
                          .args = {{"shapes", List{List{}, ToValue(std::vector<int64_t>{3})}}}};
  Model model = BuildCoded(t, spec);
  if (wrapper == "fully_shard") {
    t.RuleRaises("ValueError", "scalar", [&] { Wrap(t, model, spec, wrapper); });
    return;
  }
  Wrap(t, model, spec, wrapper);
  const std::string form = t.TextParam("form");
  Dict full = Twin(spec).StateDict();
  SameState(t, "saved", full, GetState(model, form));
  full.Set("p0", at::scalar_tensor(77.0, at::kFloat));
  SetState(model, form, full);
  SameState(t, "loaded and saved again", full, GetState(model, form));
}

RULE(GE18) {
  const int64_t rows = t.IntParam("rows"), per_rank = (rows + t.world_size() - 1) / t.world_size();
  const Mesh mesh = t.subject().InitMesh({t.world_size()});
  const Value placed = t.subject().Distribute(Coded({rows, 2}, 1), mesh, {Placement::Shard(0)});
  std::vector<shardcts::Chunk> expected;
  for (int64_t rank = 0; rank < t.world_size(); ++rank) {
    const int64_t begin = std::min(rank * per_rank, rows), end = std::min(begin + per_rank, rows);
    expected.push_back({.rank = rank, .offsets = {begin, 0}, .sizes = {end - begin, 2}});
  }
  const std::vector<shardcts::Chunk> chunks = t.subject().ChunksOf(placed);
  t.Rule(Equal("chunks", expected.size(), chunks.size()));
  for (size_t i = 0; i < std::min(expected.size(), chunks.size()); ++i) {
    t.Rule(Equal(fmt::format("rank of chunk {}", i), expected[i].rank, chunks[i].rank));
    t.Rule(Equal(fmt::format("offsets of chunk {}", i), expected[i].offsets, chunks[i].offsets));
    t.Rule(Equal(fmt::format("sizes of chunk {}", i), expected[i].sizes, chunks[i].sizes));
  }
}

}  // namespace shardcts::extended
