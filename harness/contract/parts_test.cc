#include "contract/parts.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numeric>

namespace shardcts {
namespace {

using testing::HasSubstr;

MeshLayout MeshOf(const std::vector<int64_t>& shape) {
  MeshLayout mesh{"cpu", shape, {}, {}};
  mesh.ranks.resize(static_cast<size_t>(
      std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>())));
  std::iota(mesh.ranks.begin(), mesh.ranks.end(), 0);
  return mesh;
}

at::Tensor Numbered(const std::vector<int64_t>& shape) {
  const int64_t count = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
  return at::arange(count, at::kFloat).reshape(shape);
}

// What each rank of the mesh holds of `full`.
std::vector<Value> Split(const at::Tensor& full, const MeshLayout& mesh, const std::vector<Placement>& placements) {
  std::vector<Value> of_ranks;
  for (int64_t rank : mesh.ranks) {
    DTensor value;
    value.local = LocalSlice(full, mesh, placements, rank).clone();
    value.mesh = mesh;
    value.placements = placements;
    value.shape = full.sizes().vec();
    value.stride = full.strides().vec();
    of_ranks.push_back(value);
  }
  return of_ranks;
}

at::Tensor AssembleFirst(const std::vector<Value>& of_ranks) { return Assemble(of_ranks[0].AsDTensor(), of_ranks); }

// What is wrong, when the first rank's tensor is put together.
std::string Problem(const std::vector<Value>& of_ranks) {
  try {
    if (of_ranks[0].TryAs<DTensor>()) {
      Assemble(of_ranks[0].AsDTensor(), of_ranks);
    } else {
      Assemble(of_ranks[0].AsShardedTensor(), of_ranks);
    }
  } catch (const ContractViolation& violation) {
    return violation.what();
  }
  return "none";
}

// Rows of the ranks of a 2x2 mesh, of 8.
std::vector<std::vector<int64_t>> RowsOfRanks(const std::vector<Placement>& placements) {
  std::vector<std::vector<int64_t>> rows;
  for (const Value& value : Split(at::arange(8), MeshOf({2, 2}), placements)) {
    const at::Tensor& local = value.AsDTensor().local;
    rows.emplace_back(local.const_data_ptr<int64_t>(), local.const_data_ptr<int64_t>() + local.numel());
  }
  return rows;
}

TEST(LocalSliceTest, AStridedShardSplitsWhatTheLaterDimensionHasSplit) {
  using Rows = std::vector<std::vector<int64_t>>;
  EXPECT_EQ(RowsOfRanks({Placement::Shard(0), Placement::Shard(0)}), (Rows{{0, 1}, {2, 3}, {4, 5}, {6, 7}}));
  EXPECT_EQ(RowsOfRanks({Placement::StridedShard(0, 2), Placement::Shard(0)}), (Rows{{0, 1}, {4, 5}, {2, 3}, {6, 7}}));
}

// By hand: two pieces of four rows and of three, each halved; as a StridedShard of PyTorch's DTensor.
TEST(LocalSliceTest, AStridedShardAloneHasSeveralRangesOfRows) {
  const MeshLayout mesh = MeshOf({2});
  const std::vector<Placement> placements = {Placement::StridedShard(0, 2)};
  EXPECT_TRUE(at::equal(LocalSlice(at::arange(8), mesh, placements, 0), at::tensor({0, 1, 4, 5}, at::kLong)));
  EXPECT_TRUE(at::equal(LocalSlice(at::arange(8), mesh, placements, 1), at::tensor({2, 3, 6, 7}, at::kLong)));
  EXPECT_TRUE(at::equal(LocalSlice(at::arange(7), mesh, placements, 0), at::tensor({0, 1, 4, 5}, at::kLong)));
  EXPECT_TRUE(at::equal(LocalSlice(at::arange(7), mesh, placements, 1), at::tensor({2, 3, 6}, at::kLong)));
}

struct Layout {
  std::vector<int64_t> mesh, shape;
  std::vector<Placement> placements;
};

class PartsTest : public testing::TestWithParam<Layout> {};

TEST_P(PartsTest, SplitAndPutTogetherIsTheSame) {
  const Layout& layout = GetParam();
  const at::Tensor full = Numbered(layout.shape);
  EXPECT_TRUE(at::equal(AssembleFirst(Split(full, MeshOf(layout.mesh), layout.placements)), full));
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, PartsTest,
    testing::Values(Layout{{4}, {8, 3}, {Placement::Shard(0)}}, Layout{{4}, {5, 3}, {Placement::Shard(0)}},
                    Layout{{4}, {2}, {Placement::Shard(0)}}, Layout{{4}, {3, 6}, {Placement::Shard(1)}},
                    Layout{{3}, {4}, {Placement::Replicate()}}, Layout{{2}, {}, {Placement::Replicate()}},
                    Layout{{4}, {0, 3}, {Placement::Shard(0)}},
                    Layout{{2, 2}, {6, 4}, {Placement::Replicate(), Placement::Shard(0)}},
                    Layout{{2, 2}, {6, 4}, {Placement::Shard(0), Placement::Shard(1)}},
                    Layout{{2, 2}, {8}, {Placement::StridedShard(0, 2), Placement::Shard(0)}},
                    Layout{{2, 3}, {12, 2}, {Placement::StridedShard(0, 3), Placement::Shard(0)}},
                    Layout{{2}, {7, 2}, {Placement::StridedShard(0, 2)}},
                    Layout{{3}, {2, 7}, {Placement::StridedShard(1, 2)}},
                    Layout{{2, 2}, {9, 3}, {Placement::StridedShard(0, 3), Placement::Shard(0)}},
                    Layout{{2, 2}, {9, 3}, {Placement::StridedShard(0, 2), Placement::Replicate()}}));

TEST(AssembleDTensorTest, TensorParallelSplitsBeforeFsdp) {
  std::vector<Value> of_ranks =
      Split(at::arange(8), MeshOf({2, 2}), {Placement::StridedShard(0, 2), Placement::Shard(0)});
  EXPECT_TRUE(at::equal(of_ranks[1].AsDTensor().local, at::tensor({4, 5}, at::kLong)));  // (dp 0, tp 1)
  std::swap(of_ranks[1].AsDTensor().local, of_ranks[2].AsDTensor().local);
  EXPECT_TRUE(at::equal(AssembleFirst(of_ranks), at::tensor({0, 1, 4, 5, 2, 3, 6, 7}, at::kLong)));
}

TEST(AssembleDTensorTest, RanksOutsideTheMeshDoNotCount) {
  MeshLayout mesh = MeshOf({2});
  mesh.ranks = {1, 3};
  const at::Tensor full = Numbered({4});
  const std::vector<Value> parts = Split(full, mesh, {Placement::Shard(0)});
  EXPECT_TRUE(at::equal(Assemble(parts[0].AsDTensor(), {Value(), parts[0], "other", parts[1]}), full));
}

TEST(AssembleDTensorTest, NotANumberIsAValueToo) {
  const at::Tensor full = at::full({4}, std::nan(""));
  EXPECT_EQ(Problem(Split(full, MeshOf({2}), {Placement::Replicate()})), "none");
}

class WrongDTensorTest : public testing::Test {
 protected:
  DTensor& Part(size_t rank) { return of_ranks_[rank].AsDTensor(); }
  void Everywhere(const std::function<void(DTensor&)>& change) {
    for (Value& value : of_ranks_) change(value.AsDTensor());
  }
  std::vector<Value> of_ranks_ = Split(Numbered({5, 3}), MeshOf({4}), {Placement::Shard(0)});
};

TEST_F(WrongDTensorTest, PartOfAnotherShape) {
  std::swap(Part(1).local, Part(2).local);
  EXPECT_THAT(Problem(of_ranks_), HasSubstr("rank 1 holds a part of shape (1, 3), [S(0)] of shape (5, 3) gives (2, 3)"));
}

TEST_F(WrongDTensorTest, TooFewElements) {
  Part(3).local = Part(2).local = at::zeros({0, 3});
  EXPECT_EQ(Problem(of_ranks_), "the ranks hold 12 elements of 15");
}

TEST_F(WrongDTensorTest, RanksThatSayDifferentThings) {
  Part(2).shape = {6, 3};
  EXPECT_THAT(Problem(of_ranks_), HasSubstr("rank 2 says cpu(4) [S(0)] of shape (6, 3), another rank"));
}

TEST_F(WrongDTensorTest, AnotherDtype) {
  Part(3).local = Part(3).local.to(at::kHalf);
  EXPECT_EQ(Problem(of_ranks_), "rank 3 holds float16, another rank float32");
}

TEST_F(WrongDTensorTest, ReplicasThatDiffer) {
  of_ranks_ = Split(Numbered({4}), MeshOf({2, 2}), {Placement::Replicate(), Placement::Shard(0)});
  Part(1).local += 1;
  EXPECT_EQ(Problem(of_ranks_), "rank 1 holds other values than another rank with the same part");
}

TEST_F(WrongDTensorTest, NoTensorOnARank) {
  of_ranks_[2] = 7;
  EXPECT_EQ(Problem(of_ranks_), "rank 2 has 7 there");
  of_ranks_.resize(2);
  EXPECT_EQ(Problem(of_ranks_), "there is no rank 2");
}

TEST_F(WrongDTensorTest, ImpossibleLayouts) {
  const std::vector<Value> good = of_ranks_;
  Everywhere([](DTensor& part) { part.placements = {Placement::Shard(2)}; });
  EXPECT_THAT(Problem(of_ranks_), HasSubstr("splits a dimension that the tensor does not have"));
  of_ranks_ = good;
  Everywhere([](DTensor& part) { part.placements = {Placement::Partial()}; });
  EXPECT_THAT(Problem(of_ranks_), HasSubstr("is partial"));
  of_ranks_ = good;
  Everywhere([](DTensor& part) { part.placements.clear(); });
  EXPECT_THAT(Problem(of_ranks_), HasSubstr("not one placement for each mesh dimension"));
  of_ranks_ = good;
  Everywhere([](DTensor& part) { part.mesh.shape = {3}; });
  EXPECT_THAT(Problem(of_ranks_), HasSubstr("a mesh of another number of ranks"));
  of_ranks_ = good;
  Everywhere([](DTensor& part) { part.mesh.ranks = {0, 1, 1, 3}; });
  EXPECT_THAT(Problem(of_ranks_), HasSubstr("a rank stands twice"));
  of_ranks_ = good;
  Everywhere([](DTensor& part) { part.local = part.local.to(at::kMeta); });
  EXPECT_EQ(Problem(of_ranks_), "rank 0 holds a tensor without data");
  of_ranks_ = good;
  Everywhere([](DTensor& part) { part.shape = {int64_t{1} << 40, int64_t{1} << 40}; });
  EXPECT_THAT(Problem(of_ranks_), HasSubstr("impossible shape"));
  of_ranks_ = good;
  Everywhere([](DTensor& part) { part.shape = {int64_t{1} << 40, 3}; });
  EXPECT_THAT(Problem(of_ranks_), HasSubstr("the ranks hold 15 elements of"));
}

// 5 elements on 2 ranks, as FSDP1 shards a flat parameter: 3 and 2.
class AssembleShardedTest : public testing::Test {
 protected:
  AssembleShardedTest() {
    ShardedTensor whole;
    whole.shape = {5};
    whole.metadata = {{{0}, {3}, 0, "cpu"}, {{3}, {2}, 1, "cpu"}};
    whole.ranks = {0, 1};
    for (size_t rank = 0; rank < 2; ++rank) {
      ShardedTensor part = whole;
      const ShardMetadata& shard = whole.metadata[rank];
      part.local_shards = {{shard, Numbered({5}).narrow(0, shard.offsets[0], shard.sizes[0]).clone()}};
      of_ranks_.push_back(part);
    }
  }
  ShardedTensor& Part(size_t rank) { return *of_ranks_[rank].TryAs<ShardedTensor>(); }
  void Everywhere(const std::function<void(ShardedTensor&)>& change) {
    for (Value& value : of_ranks_) change(*value.TryAs<ShardedTensor>());
  }
  std::vector<Value> of_ranks_;
};

TEST_F(AssembleShardedTest, ByOffsets) {
  EXPECT_TRUE(at::equal(Assemble(of_ranks_[1].AsShardedTensor(), of_ranks_), Numbered({5})));
}

TEST_F(AssembleShardedTest, OtherGroupsDoNotCount) {
  of_ranks_.push_back(Value());
  EXPECT_EQ(Problem(of_ranks_), "none");
}

TEST_F(AssembleShardedTest, MissingShard) {
  Part(1).local_shards.clear();
  EXPECT_EQ(Problem(of_ranks_), "the ranks hold 3 elements of 5");
}

TEST_F(AssembleShardedTest, ShardOutsideTheTensor) {
  Part(1).local_shards[0].metadata.offsets = {4};
  EXPECT_THAT(Problem(of_ranks_), HasSubstr("rank 1 holds a shard at (4,) of size (2,), which is not inside (5,)"));
}

TEST_F(AssembleShardedTest, ShardThatTheMetadataDoesNotHave) {
  Part(1).local_shards[0].metadata.offsets = {2};
  EXPECT_THAT(Problem(of_ranks_), HasSubstr("of which the tensor's metadata says something else"));
}

TEST_F(AssembleShardedTest, ShardOfAnotherSizeThanItSays) {
  Part(0).local_shards[0].tensor = at::zeros({2});
  EXPECT_EQ(Problem(of_ranks_), "rank 0 holds float32 of shape (2,) for a shard of float32 and size (3,)");
}

TEST_F(AssembleShardedTest, RanksThatSayDifferentThings) {
  Part(1).shape = {6};
  EXPECT_EQ(Problem(of_ranks_), "rank 1 says something else of the tensor than another rank");
}

TEST_F(AssembleShardedTest, ShardsThatOverlap) {
  Everywhere([](ShardedTensor& part) { part.metadata[1].offsets = {2}; });
  Part(1).local_shards[0].metadata.offsets = {2};
  EXPECT_EQ(Problem(of_ranks_), "the ranks' shards overlap");
}

}  // namespace
}  // namespace shardcts
