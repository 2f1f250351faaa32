#include "contract/observed_cut.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "contract/parts.h"

namespace shardcts {
namespace {

using testing::HasSubstr;

const at::Tensor& Whole() {
  static const at::Tensor kWhole = at::arange(10, at::kFloat).reshape({5, 2});
  return kWhole;
}

DTensor OfRows(int64_t begin, int64_t size, int64_t ranks) {
  MeshLayout mesh{"cpu", {ranks}, {}, {}};
  for (int64_t rank = 0; rank < ranks; ++rank) mesh.ranks.push_back(rank);
  return {Whole().narrow(0, begin, size).clone(), mesh, {Placement::Shard(0)}, {5, 2}, {2, 1}};
}

std::string ErrorOf(const std::vector<Value>& parts) {
  try {
    AssembleObserved(parts.front().AsDTensor(), parts);
  } catch (const ContractViolation& violation) {
    return violation.what();
  }
  return "none";
}

TEST(ObservedCutTest, PartsOfAnySizeInTheOrderOfTheRanksFormTheWhole) {
  const std::vector<Value> parts{OfRows(0, 2, 2), OfRows(2, 3, 2)};
  EXPECT_TRUE(AssembleObserved(parts[0].AsDTensor(), parts).equal(Whole()));
  EXPECT_THROW(Assemble(parts[0].AsDTensor(), parts), ContractViolation) << "PyTorch cuts 3 + 2";
  const PartShapes shapes{{0, {2, 2}}, {1, {3, 2}}};
  EXPECT_TRUE(ObservedSlice(Whole(), parts[0].AsDTensor(), shapes, 1).equal(Whole().narrow(0, 2, 3)));
}

TEST(ObservedCutTest, AMeshDimensionOfOneRankSplitsNothing) {
  std::vector<Value> parts;
  for (DTensor part : {OfRows(0, 2, 2), OfRows(2, 3, 2)}) {
    part.mesh.shape = {1, 2};
    part.placements = {Placement::Shard(0), Placement::Shard(0)};
    parts.emplace_back(std::move(part));
  }
  EXPECT_TRUE(AssembleObserved(parts[0].AsDTensor(), parts).equal(Whole()));
}

TEST(ObservedCutTest, TheFirstRankMayHaveNone) {
  const std::vector<Value> parts{OfRows(0, 0, 3), OfRows(0, 1, 3), OfRows(1, 4, 3)};
  EXPECT_TRUE(AssembleObserved(parts[0].AsDTensor(), parts).equal(Whole()));
}

TEST(ObservedCutTest, PartsThatDoNotTileAreNoWhole) {
  EXPECT_THAT(ErrorOf({OfRows(0, 2, 2), OfRows(2, 2, 2)}),
              HasSubstr("the ranks hold 4 rows of dimension 0, which has 5"));
  EXPECT_THAT(ErrorOf({OfRows(0, 3, 2), OfRows(2, 3, 2)}), HasSubstr("the ranks hold 6 rows"));
  DTensor narrow = OfRows(0, 2, 2);
  narrow.local = narrow.local.narrow(1, 0, 1);
  EXPECT_THAT(ErrorOf({narrow, OfRows(2, 3, 2)}), HasSubstr("rank 0 holds a part of shape"));
  EXPECT_THAT(ErrorOf({OfRows(0, 2, 2), Value(3)}), HasSubstr("rank 1 has "));
}

TEST(ObservedCutTest, ReplicasHaveTheSameValues) {
  const MeshLayout mesh{"cpu", {2, 2}, {}, {0, 1, 2, 3}};
  std::vector<Value> parts;
  for (int64_t rank = 0; rank < 4; ++rank) {
    DTensor part = OfRows(rank % 2 ? 2 : 0, rank % 2 ? 3 : 2, 2);
    part.mesh = mesh;
    part.placements = {Placement::Replicate(), Placement::Shard(0)};
    parts.push_back(part);
  }
  EXPECT_TRUE(AssembleObserved(parts[0].AsDTensor(), parts).equal(Whole()));
  parts[2].AsDTensor().local.add_(1);
  EXPECT_THAT(ErrorOf(parts), HasSubstr("holds other values than another rank with the same part"));
}

}  // namespace
}  // namespace shardcts
