// Geometry on meshes of two and three dimensions.
#include <ATen/ATen.h>
#include <c10/util/accumulate.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "contract/parts.h"
#include "suites/extended/chunks.h"
#include "suites/extended/comparison.h"
#include "suites/extended/forms.h"
#include "suites/extended/refusals.h"
#include "suites/extended/rule.h"
#include "suites/extended/tiling.h"
#include "suites/extended/twin.h"
#include "suites/extended/wrapping.h"

namespace shardcts::extended {
namespace {

// Layers with 3, 5, 6, 7 rows, all split by tensor parallelism on dimension 0.
const ModelSpec kColumns = {.name = "linear_stack",
                            .args = {{"sizes", ToValue(std::vector<int64_t>{4, 3, 5, 6, 7})}},
                            .plan = {{"0", "colwise"}, {"1", "colwise"}, {"2", "colwise"}, {"3", "colwise"}}};

// Split on dimension 0 and 1 by tensor parallelism.
const ModelSpec kPair = {.name = "linear_stack",
                         .args = {{"sizes", ToValue(std::vector<int64_t>{3, 5, 4})}},
                         .units = {"0"},
                         .plan = {{"0", "colwise"}, {"1", "rowwise"}}};

// Rows of a tensor that is split over tp first, then over dp; both meshes are row-major.
Chunk ChunkOfBoth(int64_t n, int64_t dp, int64_t tp, int64_t rank) {
  const Chunk outer = ChunkOf(n, tp, rank % tp);
  const Chunk inner = ChunkOf(outer.size, dp, rank / tp);
  return {outer.offset + inner.offset, inner.size};
}

// The shape of the mesh that the parameter `mesh` says: "1xW", "Wx1".
std::vector<int64_t> MeshOf(const Trial& t) {
  if (t.TextParam("mesh") == "1xW") return {1, t.world_size()};
  return {t.world_size(), 1};
}

struct NamedMesh {
  std::vector<int64_t> shape;
  std::vector<std::string> names;
};

// The ranks whose coordinates are this rank's outside of the named dimensions, in row-major order.
std::vector<int64_t> RanksOfSlice(const NamedMesh& mesh, const std::vector<std::string>& names, int64_t rank) {
  std::vector<int64_t> ranks{0};
  int64_t place = rank, stride = c10::multiply_integers(mesh.shape);
  for (size_t dim = 0; dim < mesh.shape.size(); ++dim) {
    stride /= mesh.shape[dim];
    const int64_t own = place / stride;
    place %= stride;
    const bool is_named = std::ranges::count(names, mesh.names[dim]) > 0;
    std::vector<int64_t> next;
    for (const int64_t before : ranks) {
      for (int64_t i = is_named ? 0 : own; i < (is_named ? mesh.shape[dim] : own + 1); ++i) {
        next.push_back(before + i * stride);
      }
    }
    ranks = std::move(next);
  }
  return ranks;
}

}  // namespace

RULE(GE7) {
  const int64_t dp = t.world_size() / 2, tp = 2;
  Model model = BuildWrapped(t, kColumns, "fully_shard_tp");
  const Dict state = model.StateDict();
  const std::vector<Placement> placements = {Placement::StridedShard(0, tp), Placement::Shard(0)};
  for (const auto& [name, value] : Twin(kColumns).StateDict()) {
    const at::Tensor full = value.AsTensor();
    const std::string what = ToString(name);
    const DTensor& actual = state.At(name).AsDTensor();
    const Chunk chunk = ChunkOfBoth(full.size(0), dp, tp, t.rank());
    t.Rule(Equal(what + ": placements", ToString(placements), ToString(actual.placements)));
    t.Rule(SameValue(fmt::format("{}: rows of rank {}", what, t.rank()), full.narrow(0, chunk.offset, chunk.size),
                     actual.local));
    t.Rule(SameValue(what + ": gathered", full, t.subject().FullTensor(state.At(name)).AsTensor().cpu()));
  }
}

RULE(GE8) {
  Model model = BuildWrapped(t, kColumns, "fully_shard_tp");
  const Dict state = GetState(model, t.TextParam("form"));
  for (const auto& [name, value] : Twin(kColumns).StateDict()) {
    const DTensor& actual = state.At(name).AsDTensor();
    const std::string what = fmt::format("{}: the rows that {} gives rank {}", ToString(name),
                                         ToString(actual.placements), t.rank());
    t.Rule(SameValue(what, LocalSlice(value.AsTensor(), actual.mesh, actual.placements, t.rank()), actual.local));
  }
}

RULE(GE9) {
  const std::string wrapper = t.TextParam("wrapper");
  Model model = BuildWrapped(t, kPair, wrapper);
  const std::vector<Value> of_ranks = t.AllGather(model.StateDict());
  const size_t half = of_ranks.size() / 2;  // replicas are the outermost dimension
  for (const auto& [name, value] : Twin(kPair).StateDict()) {
    const auto part = [&](size_t rank) { return of_ranks[rank].AsDict().At(name).AsDTensor().local; };
    for (size_t rank = 0; rank < half; ++rank) {
      const std::string what = fmt::format("{}: part of rank {} and its replica", ToString(name), rank);
      t.Rule(SameValue(what, part(rank), part(rank + half)));
    }
    // The bias of a rowwise layer is replicated over tp: one rank of each pair tiles it.
    const bool over_tp = wrapper == "hsdp_tp" && ToString(name) == "1.bias";
    for (size_t replica = 0; replica < 2; ++replica) {
      std::vector<at::Tensor> parts;
      for (size_t rank = 0; rank < half; rank += over_tp ? 2 : 1) parts.push_back(part(replica * half + rank));
      t.Rule(Tile(fmt::format("{}: replica {}", ToString(name), replica), value.AsTensor(), parts));
    }
  }
}

RULE(GE14) {
  const std::string wrapper = t.TextParam("wrapper");
  const std::vector<int64_t> mesh = MeshOf(t);
  Model model = BuildCoded(t, kPair);
  WrapOver(t, model, kPair, wrapper, mesh);
  const Dict full = Twin(kPair).StateDict();
  const Dict state = model.StateDict();
  t.Rule(SameNames("names", full.Keys(), state.Keys()));
  const int64_t shards = wrapper == "hsdp" ? mesh[1] : mesh[0];
  const int64_t tp = wrapper == "hsdp" ? 1 : mesh[1];
  for (const auto& [name, value] : full) {
    const std::string what = ToString(name);
    const bool rowwise = what == "1.weight", replicated = what == "1.bias";
    const int64_t coordinate = tp > 1 ? 0 : shards > 1 ? t.rank() : 0;
    at::Tensor part = value.AsTensor();
    if (tp > 1 && !replicated) {
      const int64_t dim = rowwise ? 1 : 0;
      const Chunk chunk = ChunkOf(part.size(dim), tp, t.rank());
      part = part.narrow(dim, chunk.offset, chunk.size);
    }
    const Chunk rows = ChunkOf(part.size(0), shards, coordinate);
    t.Rule(SameValue(what + ": part of this rank", part.narrow(0, rows.offset, rows.size).contiguous(),
                     state.At(name).AsDTensor().local));
    t.Rule(SameValue(what + ": gathered", value, t.subject().FullTensor(state.At(name)).AsTensor().cpu()));
  }
}

RULE(GE16) {
  const std::vector<NamedMesh> meshes{{{2, 2}, {"a", "b"}}, {{2, 1, 2}, {"a", "b", "c"}}, {{1, 2, 2}, {"a", "b", "c"}}};
  const std::vector<std::vector<std::string>> selections{{"a"}, {"b"}, {"c"}, {"a", "b"}, {"a", "c"}, {"b", "c"}};
  for (const NamedMesh& mesh : meshes) {
    const Mesh whole = t.subject().InitMesh(mesh.shape, mesh.names);
    for (const std::vector<std::string>& names : selections) {
      if (names.back() > mesh.names.back()) continue;
      const Mesh slice = whole.Submesh(names);
      const std::string what = fmt::format("{} of {}", fmt::join(names, ","), fmt::join(mesh.names, ","));
      t.Rule(SameNames(what + ": names", names, slice.Layout().dim_names));
      t.Rule(Equal(what + ": ranks", RanksOfSlice(mesh, names, t.rank()), slice.Layout().ranks));
      const std::vector<std::string> last{names.back()};
      t.Rule(Equal(what + ": ranks of its last dimension", RanksOfSlice(mesh, last, t.rank()),
                   slice.Submesh(last).Layout().ranks));
    }
  }
}

RULE(GE17) {
  const std::vector<std::string> kinds{"KeyError", "RuntimeError"};
  const bool has_one = t.TextParam("mesh") == "2x1x2";
  const Mesh mesh = has_one ? t.subject().InitMesh({2, 1, 2}, {"a", "b", "c"}) : t.subject().InitMesh({2, 2}, {"a", "b"});
  const std::vector<std::vector<std::string>> wrong{{"a", "a"}, {"a", "b", "b"}, {"b", "a"}, {"d"}, {"a", "d"}};
  for (const std::vector<std::string>& names : wrong) {
    Refused(t, fmt::format("a slice along {}", fmt::join(names, ",")), kinds, [&] { mesh.Submesh(names); });
  }
  Refused(t, "a mesh whose dimensions share a name", kinds, [&] { t.subject().InitMesh({2, 2}, {"a", "a"}); });
}

RULE(GE19) {
  const Mesh mesh = t.subject().InitMesh({t.world_size()});
  const at::Tensor whole = Coded({4, 5}, 0);
  const Value made = t.subject().Distribute(whole.to(c10::Device(t.device())), mesh, {Placement::Shard(-1)});
  t.Rule(SameValue("the rank's columns", LocalSlice(whole, mesh.Layout(), {Placement::Shard(1)}, t.rank()),
                   LocalPart(made).to(at::kCPU)));
  t.Rule(SameValue("gathered", whole, t.subject().FullTensor(made).AsTensor().cpu()));
}

RULE(GE20) {
  const std::string op = t.TextParam("op");
  const Mesh mesh = t.subject().InitMesh({t.world_size()});
  std::vector<at::Tensor> parts;
  for (int64_t rank = 0; rank < t.world_size(); ++rank) parts.push_back(Coded({5, 2}, 3 - rank));
  const at::Tensor all = at::stack(parts);
  const at::Tensor expected = op == "avg" ? all.mean(0) : op == "max" ? all.amax(0) : op == "min" ? all.amin(0) : all.sum(0);
  const DTensor partial{.local = parts[static_cast<size_t>(t.rank())].to(c10::Device(t.device())),
                        .mesh = mesh.Layout(),
                        .placements = {Placement::Partial(op)},
                        .shape = {5, 2},
                        .stride = {2, 1}};
  const Value whole = t.subject().Redistribute(partial, {Placement::Replicate()});
  t.Rule(SameValue("reduced by " + op, expected, LocalPart(whole).to(at::kCPU)));
  const Value rows = t.subject().Redistribute(partial, {Placement::Shard(0)});
  t.Rule(SameValue("this rank's rows, reduced by " + op,
                   LocalSlice(expected, mesh.Layout(), {Placement::Shard(0)}, t.rank()), LocalPart(rows).to(at::kCPU)));
}

RULE(GE21) {
  const Mesh mesh = t.subject().InitMesh({2, 2}, {"x", "y"});
  const DTensor mixed{.local = at::full({2}, 1.0 + static_cast<double>(t.rank())).to(c10::Device(t.device())),
                      .mesh = mesh.Layout(),
                      .placements = {Placement::Partial(t.TextParam("one")), Placement::Partial(t.TextParam("other"))},
                      .shape = {2},
                      .stride = {1}};
  Refused(t, "a redistribution", {"ValueError"},
          [&] { t.subject().Redistribute(mixed, {Placement::Replicate(), Placement::Replicate()}); });
}

RULE(GE22) {
  const std::vector<int64_t> ranks = {3, 1, 0, 2};  // rows (3, 1) and (0, 2)
  const Mesh mesh = t.subject().InitMesh({2, 2}, {"row", "column"}, ranks);
  const size_t place = static_cast<size_t>(std::ranges::find(ranks, t.rank()) - ranks.begin());
  t.Rule(Equal("the mesh", ranks, mesh.Layout().ranks));
  t.Rule(Equal("along columns", std::vector<int64_t>{ranks[place / 2 * 2], ranks[place / 2 * 2 + 1]},
               mesh.Submesh({"column"}).Layout().ranks));
  t.Rule(Equal("along rows", std::vector<int64_t>{ranks[place % 2], ranks[place % 2 + 2]},
               mesh.Submesh({"row"}).Layout().ranks));
}

RULE(GE23) {
  const Mesh mesh = t.subject().InitMesh({t.world_size()});
  const Placement target = Placement::Partial(t.TextParam("op"));
  const at::Tensor whole = Coded({4, 2}, 1);
  for (const Placement& placement : {Placement::Shard(0), Placement::Replicate()}) {
    const Value tensor = t.subject().Distribute(whole.to(c10::Device(t.device())), mesh, {placement});
    if (!Refused(t, "a redistribution from " + placement.ToString(), {"RuntimeError"},
                 [&] { t.subject().Redistribute(tensor, {target}); })) {
      return;
    }
  }
}

RULE(GE24) {
  const Mesh mesh = t.subject().InitMesh({t.world_size()});
  const at::Tensor whole = Coded({4, 2}, 1).to(c10::Device(t.device()));
  const std::vector<Placement> two = {Placement::Shard(0), Placement::Replicate()};
  const std::vector<std::string> kinds = {"ValueError", "RuntimeError", "IndexError", "AssertionError"};
  if (!Refused(t, "a distribution with two placements over one dimension", kinds,
               [&] { t.subject().Distribute(whole, mesh, two); })) {
    return;
  }
  const Value tensor = t.subject().Distribute(whole, mesh, {Placement::Shard(0)});
  Refused(t, "a redistribution with two placements", kinds, [&] { t.subject().Redistribute(tensor, two); });
}

RULE(GE25) {
  const std::vector<int64_t> ranks = {0, 1};
  Refused(t, "a mesh of 3 over two ranks", {"RuntimeError"}, [&] { t.subject().InitMesh({3}, {}, ranks); });
  Refused(t, "a mesh of 2 by 2 over two ranks", {"RuntimeError"}, [&] { t.subject().InitMesh({2, 2}, {}, ranks); });
}

}  // namespace shardcts::extended
