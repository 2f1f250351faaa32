#include "tensor/device_mesh.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "comm/testing/rank_tests.h"
#include "tensor/dtensor.h"
#include "tensor/mesh_registry.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

using Ints = std::vector<int64_t>;

template <class F>
std::string KindOf(F act) {
  try {
    act();
  } catch (const SemanticError& error) {
    return error.kind();
  }
  return "no error";
}

// 1x1, 1x2, 2x2 or 2x2x2, with names.
std::shared_ptr<DeviceMesh> MeshOfWorld() {
  const std::vector<std::string> names = {"replicate", "shard", "tp"};
  const Ints shape = World().size() == 8   ? Ints{2, 2, 2}
                     : World().size() == 1 ? Ints{1, 1}
                                           : Ints{World().size() / 2, 2};
  return DeviceMesh::Create(World(), "cpu", shape, {names.end() - shape.size(), names.end()});
}

// The sum of global ranks over the group says which ranks are in it.
int64_t SumOfRanks(Communicator& group) {
  at::Tensor sum = at::full({1}, World().rank(), at::kLong);
  group.AllReduce(sum, ReduceOp::kSum);
  return sum.item<int64_t>();
}

TEST(DeviceMeshTest, CoordinateAndGroupsAreRowMajor) {
  const auto mesh = MeshOfWorld();
  EXPECT_EQ(mesh->layout().Coordinate(World().rank()), mesh->coordinate());
  int64_t rank = 0;
  for (int64_t dim = 0; dim < mesh->NumDims(); ++dim) {
    rank = rank * mesh->Size(dim) + mesh->coordinate()[dim];
    EXPECT_EQ(mesh->group(dim).size(), mesh->Size(dim));
    EXPECT_EQ(mesh->group(dim).rank(), mesh->coordinate()[dim]);
  }
  EXPECT_EQ(rank, World().rank());
}

TEST(DeviceMeshTest, SubmeshSelectsDimensionsAndSharesGroups) {
  const auto mesh = MeshOfWorld();
  const auto tp = mesh->Submesh({"tp"});
  EXPECT_EQ(tp->layout().dim_names, std::vector<std::string>{"tp"});
  EXPECT_EQ(&tp->root(), mesh.get());
  EXPECT_EQ(&tp->group(0), &mesh->group(mesh->NumDims() - 1));
  EXPECT_EQ(tp->layout().ranks, tp->group(0).global_ranks());
  const int64_t first = World().rank() - tp->coordinate()[0];
  EXPECT_EQ(SumOfRanks(tp->group(0)), tp->Size(0) == 1 ? first : 2 * first + 1);
  EXPECT_EQ(mesh->Submesh(mesh->layout().dim_names), mesh);
}

TEST(DeviceMeshTest, TwoDimensionalSliceOfThree) {
  if (World().size() != 8) GTEST_SKIP() << "needs 8 ranks";
  const auto mesh = MeshOfWorld();
  const auto dp = mesh->Submesh({"replicate", "shard"});
  const int64_t tp = World().rank() % 2;
  EXPECT_EQ(dp->layout().ranks, (Ints{tp, 2 + tp, 4 + tp, 6 + tp}));
  const int64_t replica = World().rank() / 4;
  EXPECT_EQ(dp->Submesh({"shard"})->layout().ranks, (Ints{4 * replica + tp, 4 * replica + 2 + tp}));
  EXPECT_EQ(Concatenate(*dp, *mesh->Submesh({"tp"}))->layout(), mesh->layout());
}

TEST(DeviceMeshTest, ConcatenateKeepsTheGivenOrder) {
  const auto mesh = MeshOfWorld();
  const auto shard = mesh->Submesh({"shard"}), tp = mesh->Submesh({"tp"});
  const auto both = Concatenate(*shard, *tp);
  EXPECT_EQ(both->shape(), (Ints{shard->Size(0), tp->Size(0)}));
  EXPECT_EQ(both->layout().Coordinate(World().rank()), both->coordinate());
  const auto turned = Concatenate(*tp, *shard);
  EXPECT_EQ(turned->layout().dim_names, (std::vector<std::string>{"tp", "shard"}));
  EXPECT_EQ(turned->layout().Coordinate(World().rank()), turned->coordinate());
}

TEST(DeviceMeshTest, Errors) {
  const auto mesh = MeshOfWorld();
  const auto unnamed = DeviceMesh::Create(World(), "cpu", {World().size()}, {});
  EXPECT_EQ(KindOf([] { DeviceMesh::Create(World(), "cpu", {World().size() + 1}, {}); }), "RuntimeError");
  EXPECT_EQ(KindOf([] { DeviceMesh::Create(World(), "cpu", {World().size()}, {"a", "b"}); }), "RuntimeError");
  EXPECT_EQ(KindOf([] { DeviceMesh::Create(World(), "cpu", {World().size(), 1}, {"a", "a"}); }), "RuntimeError");
  EXPECT_EQ(KindOf([&] { mesh->Submesh({"nobody"}); }), "KeyError");
  EXPECT_EQ(KindOf([&] { mesh->Submesh({"tp", "shard"}); }), "KeyError");
  EXPECT_EQ(KindOf([&] { unnamed->Submesh({"dp"}); }), "RuntimeError");
  EXPECT_EQ(KindOf([&] { Concatenate(*mesh, *unnamed); }), "RuntimeError");
  EXPECT_EQ(KindOf([&] { Concatenate(*mesh, *mesh->Submesh({"tp"})); }), "RuntimeError");
}

TEST(MeshRegistryTest, FindsRootsSubmeshesAndConcatenations) {
  MeshRegistry registry;
  const auto mesh = registry.GetOrCreate(World(), "cpu", {1, World().size()}, {"dp", "tp"});
  EXPECT_EQ(registry.GetOrCreate(World(), "cpu", {1, World().size()}, {"dp", "tp"}), mesh);
  EXPECT_EQ(registry.Find(mesh->layout()), mesh);
  EXPECT_EQ(&registry.Find(mesh->Submesh({"tp"})->layout())->root(), mesh.get());
  const MeshLayout turned = Concatenate(*mesh->Submesh({"tp"}), *mesh->Submesh({"dp"}))->layout();
  EXPECT_EQ(registry.Find(turned)->layout(), turned);
  EXPECT_EQ(KindOf([&] { registry.Find({"cpu", {World().size()}, {"other"}, World().global_ranks()}); }),
            "RuntimeError");
}

TEST(DTensorTest, CrossesTheContractAndComesBack) {
  MeshRegistry registry;
  const auto mesh = registry.GetOrCreate(World(), "cpu", {World().size()}, {});
  at::Tensor local = at::ones({2, 3});
  local.set_requires_grad(true);
  const DTensor tensor = MakeDTensor(local, mesh, {Placement::Shard(0)}, {2 * World().size(), 3});
  const shardcts::DTensor value = ToContract(tensor, true);
  EXPECT_TRUE(value.is_parameter && value.requires_grad);
  EXPECT_EQ(value.stride, (Ints{3, 1}));
  const DTensor back = FromContract(value, registry);
  EXPECT_EQ(back.mesh, mesh);
  EXPECT_EQ(back.local.data_ptr(), local.data_ptr());
  shardcts::DTensor wrong = value;
  wrong.shape = {4 * World().size(), 3};
  EXPECT_EQ(KindOf([&] { FromContract(wrong, registry); }), "RuntimeError");
}

}  // namespace
}  // namespace shardcts::reference
