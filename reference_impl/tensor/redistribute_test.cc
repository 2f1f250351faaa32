#include "tensor/redistribute.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "comm/testing/rank_tests.h"
#include "tensor/direct_memory.h"
#include "tensor/sharding.h"

namespace shardcts::reference {
namespace {

using Ints = std::vector<int64_t>;
using Placements = std::vector<Placement>;

const Placement R = Placement::Replicate();
const Placement P = Placement::Partial();
Placement S(int64_t dim) { return Placement::Shard(dim); }
Placement SS(int64_t dim, int64_t split_factor) { return Placement::StridedShard(dim, split_factor); }

// Every element is its global index: whatever lands in a wrong place shows.
at::Tensor Coded(const Ints& shape) {
  int64_t count = 1;
  for (int64_t size : shape) count *= size;
  return at::arange(count, at::kFloat).view(shape);
}

std::shared_ptr<DeviceMesh> Line() { return DeviceMesh::Create(World(), "cpu", {World().size()}, {}); }
// 2x2 and 2x4; 1xW for other world sizes.
std::shared_ptr<DeviceMesh> Plane() {
  const int64_t rows = World().size() % 4 == 0 ? 2 : 1;
  return DeviceMesh::Create(World(), "cpu", {rows, World().size() / rows}, {"dp", "tp"});
}

// What this rank must hold of Coded(shape), by the ranges of sharding.h (tested by themselves), element by element.
at::Tensor ExpectedLocal(const Ints& shape, const DeviceMesh& mesh, const Placements& placements) {
  at::Tensor local = Coded(shape);
  for (size_t dim = 0; dim < shape.size(); ++dim) {
    std::vector<at::Tensor> parts = {local.narrow(dim, 0, 0)};
    for (const Range& range : OwnedRanges(shape[dim], dim, mesh.shape(), mesh.coordinate(), placements)) {
      parts.push_back(local.narrow(dim, range.begin, range.size()));
    }
    local = at::cat(parts, dim);
  }
  return local;
}

void ExpectRoundTrip(const std::shared_ptr<DeviceMesh>& mesh, const Ints& shape, const Placements& placements) {
  SCOPED_TRACE(ShapeToString(shape) + " as " + ToString(placements) + " on " + mesh->layout().ToString());
  // Only the first rank has the right values.
  const at::Tensor given = World().rank() == 0 ? Coded(shape) : at::full(shape, -1.0);
  const DTensor tensor = DistributeTensor(given, mesh, placements);
  EXPECT_EQ(tensor.shape, shape);
  EXPECT_EQ(tensor.placements, placements);
  EXPECT_TRUE(tensor.local.is_contiguous());
  EXPECT_TRUE(at::equal(tensor.local, ExpectedLocal(shape, *mesh, placements))) << tensor.local;
  EXPECT_TRUE(at::equal(FullTensor(tensor), Coded(shape)));
}

// Large and small ones, rows that do not divide evenly, other cuts, another mesh: each as alone, at its place.
void ExpectManyAreThoseOfEachAlone() {
  const auto line = Line();
  const auto plane = Plane();
  std::vector<DTensor> tensors;
  std::vector<Ints> shapes;
  const auto add = [&](const Ints& shape, const std::shared_ptr<DeviceMesh>& mesh, const Placements& placements) {
    tensors.push_back(DistributeTensor(Coded(shape), mesh, placements));
    shapes.push_back(shape);
  };
  for (const Ints& rows : {Ints{512, 64}, Ints{3}, Ints{131, 257}, Ints{1, 65536}}) add(rows, line, {S(0)});
  add({64, 512}, line, {S(1)});
  add({256, 256}, plane, {R, S(0)});
  add({512, 64}, line, {R});
  for (int64_t i = 0; i < 70; ++i) add({128 + i, 128}, line, {S(0)});
  const std::vector<at::Tensor> whole = FullTensors(tensors);
  ASSERT_EQ(whole.size(), tensors.size());
  for (size_t i = 0; i < whole.size(); ++i) EXPECT_TRUE(at::equal(whole[i], Coded(shapes[i]))) << i;
  EXPECT_TRUE(FullTensors({}).empty());
}

TEST(RedistributeTest, ManyFullTensorsAreThoseOfEachAlone) { ExpectManyAreThoseOfEachAlone(); }

TEST(RedistributeTest, ManyFullTensorsInMemoryThatRanksShare) {
  const DirectMemoryScope direct_memory(World());
  ExpectManyAreThoseOfEachAlone();
}

TEST(RedistributeTest, LineRoundTripsEverySizeAndDimension) {
  const auto mesh = Line();
  const int64_t world = World().size();
  for (int64_t size : {int64_t{0}, int64_t{1}, world - 1, world, 2 * world + 1}) {
    ExpectRoundTrip(mesh, {size}, {S(0)});
    ExpectRoundTrip(mesh, {size, 3}, {S(0)});
    ExpectRoundTrip(mesh, {2, size, 3}, {S(1)});
    ExpectRoundTrip(mesh, {2, size}, {R});
    ExpectRoundTrip(mesh, {size, 2}, {SS(0, 2)});
  }
}

TEST(RedistributeTest, PlaneRoundTripsNestedAndStridedShards) {
  const auto mesh = Plane();
  const int64_t tp = mesh->Size(1);
  for (int64_t size : {0, 1, 5, 8, 11, 16, 19}) {
    for (const Placements& placements :
         std::vector<Placements>{{S(0), S(0)}, {SS(0, tp), S(0)}, {S(0), S(1)}, {S(1), S(0)}, {R, S(0)}, {S(0), R},
                                 {SS(1, tp), S(1)}, {R, R}}) {
      ExpectRoundTrip(mesh, {size, 6}, placements);
    }
  }
}

TEST(RedistributeTest, HybridWithTensorParallelism) {
  if (World().size() != 8) GTEST_SKIP() << "needs 8 ranks";
  const auto mesh = DeviceMesh::Create(World(), "cpu", {2, 2, 2}, {"replicate", "shard", "tp"});
  for (int64_t size : {3, 4, 6, 10, 16}) {
    ExpectRoundTrip(mesh, {size, 4}, {R, SS(0, 2), S(0)});
    ExpectRoundTrip(mesh, {size, 4}, {R, S(0), S(1)});
    ExpectRoundTrip(mesh, {size, 4}, {SS(0, 4), SS(0, 2), S(0)});
  }
}

TEST(RedistributeTest, SubmeshesDoNotMeetEachOther) {
  const auto mesh = Plane();
  const auto tp = mesh->Submesh({"tp"});
  // Each row of the mesh has data of its own.
  const double row = static_cast<double>(mesh->coordinate()[0]);
  const at::Tensor full = Coded({5, 3}) + 100 * row;
  const DTensor tensor = DistributeTensor(tp->coordinate()[0] == 0 ? full : at::zeros({5, 3}), tp, {S(0)});
  EXPECT_TRUE(at::equal(FullTensor(tensor), full));
}

TEST(RedistributeTest, BetweenAllPairsOfPlacements) {
  const auto mesh = Plane();
  const int64_t tp = mesh->Size(1);
  const std::vector<Placements> all = {{S(0), S(0)}, {SS(0, tp), S(0)}, {S(0), S(1)}, {S(1), S(0)}, {R, S(0)},
                                       {R, S(1)},    {S(0), R},         {R, R},       {S(1), S(1)}};
  const Ints shape = {7, 6};
  for (const Placements& from : all) {
    const DTensor tensor = DistributeTensor(Coded(shape), mesh, from);
    for (const Placements& to : all) {
      const DTensor result = Redistribute(tensor, to);
      EXPECT_EQ(result.placements, to);
      EXPECT_TRUE(at::equal(result.local, ExpectedLocal(shape, *mesh, to))) << ToString(from) << " to " << ToString(to);
    }
  }
}

TEST(RedistributeTest, PartialValuesAreReduced) {
  const auto mesh = Line();
  const double world = World().size(), rank = World().rank();
  const auto reduced = [&](const std::string& op) {
    const DTensor partial = MakeDTensor(at::full({2, 3}, rank + 1), mesh, {Placement::Partial(op)}, {2, 3});
    return FullTensor(partial)[0][0].item<double>();
  };
  EXPECT_EQ(reduced("sum"), world * (world + 1) / 2);
  EXPECT_EQ(reduced("avg"), (world + 1) / 2);
  EXPECT_EQ(reduced("min"), 1);
  EXPECT_EQ(reduced("max"), world);
  const DTensor partial = MakeDTensor(Coded({5, 3}) * (rank + 1), mesh, {P}, {5, 3});
  const DTensor shard = Redistribute(partial, {S(0)});
  EXPECT_TRUE(at::equal(shard.local, ExpectedLocal({5, 3}, *mesh, {S(0)}) * (world * (world + 1) / 2)));
  EXPECT_TRUE(at::equal(partial.local, Coded({5, 3}) * (rank + 1))) << "the source is untouched";
}

TEST(RedistributeTest, PartialOverOneMeshDimensionShardedOverTheOther) {
  const auto mesh = Plane();
  const DTensor sharded = DistributeTensor(Coded({5, 4}), mesh, {R, S(0)});
  const DTensor partial = {sharded.local, mesh, {P, S(0)}, {5, 4}, {4, 1}};
  EXPECT_TRUE(at::equal(FullTensor(partial), Coded({5, 4}) * mesh->Size(0)));
}

TEST(RedistributeTest, WholeToPartialAndBack) {
  const auto mesh = Line();
  for (const char* op : {"sum", "avg", "min", "max"}) {
    const DTensor tensor = DistributeTensor(Coded({4, 3}), mesh, {Placement::Partial(op)});
    EXPECT_TRUE(at::allclose(FullTensor(tensor), Coded({4, 3}))) << op;
  }
}

TEST(RedistributeTest, EqualPlacementsShareStorage) {
  const auto mesh = Line();
  const DTensor tensor = DistributeTensor(Coded({5, 3}), mesh, {S(0)});
  EXPECT_TRUE(Redistribute(tensor, {S(0)}).local.is_same(tensor.local));
}

TEST(RedistributeTest, ShardsOwnNoMoreThanTheirBytes) {
  const auto mesh = Line();
  const DTensor tensor = DistributeTensor(Coded({World().size() * 2, 3}), mesh, {S(0)});
  EXPECT_EQ(tensor.local.storage().nbytes(), tensor.local.nbytes());
}

TEST(RedistributeTest, MetaTensorsStayMeta) {
  const DTensor tensor = DistributeTensor(at::empty({5, 3}, at::device(at::kMeta)), Line(), {S(0)});
  EXPECT_TRUE(tensor.local.is_meta());
  EXPECT_EQ(tensor.local.sizes().vec(), LocalShape({5, 3}, {World().size()}, {World().rank()}, {S(0)}));
}

TEST(RedistributeTest, TransposedInputKeepsItsGlobalStride) {
  const DTensor tensor = DistributeTensor(Coded({4, 6}).t(), Line(), {S(0)});
  EXPECT_EQ(tensor.stride, (Ints{1, 6}));
  EXPECT_TRUE(at::equal(FullTensor(tensor), Coded({4, 6}).t()));
}

}  // namespace
}  // namespace shardcts::reference
