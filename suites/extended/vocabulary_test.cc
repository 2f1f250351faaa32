// The words that rule bodies are written in.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "suites/extended/chunks.h"
#include "suites/extended/coded.h"
#include "suites/extended/optimizer_state.h"
#include "suites/extended/tiling.h"
#include "suites/extended/twin.h"

namespace shardcts::extended {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const ModelSpec kStack = {.name = "linear_stack", .args = {{"sizes", ToValue(std::vector<int64_t>{2, 3, 1})}}};

TEST(ChunksTest, AreCeilSizedAndEndWithTheTensor) {
  const auto rows = [](int64_t n, int64_t world_size) {
    std::vector<std::pair<int64_t, int64_t>> chunks;
    for (int64_t rank = 0; rank < world_size; ++rank) {
      const Chunk chunk = ChunkOf(n, world_size, rank);
      chunks.emplace_back(chunk.offset, chunk.size);
    }
    return chunks;
  };
  using Pair = std::pair<int64_t, int64_t>;
  EXPECT_THAT(rows(7, 3), ElementsAre(Pair{0, 3}, Pair{3, 3}, Pair{6, 1}));
  EXPECT_THAT(rows(4, 3), ElementsAre(Pair{0, 2}, Pair{2, 2}, Pair{4, 0}));
  EXPECT_THAT(rows(2, 3), ElementsAre(Pair{0, 1}, Pair{1, 1}, Pair{2, 0}));
  EXPECT_THAT(rows(0, 2), ElementsAre(Pair{0, 0}, Pair{0, 0}));
}

TEST(CodedTest, EveryElementOfEveryTensorDiffers) {
  const at::Tensor all = at::cat({Coded({40, 100}, 0).flatten(), Coded({40, 100}, 1).flatten(),
                                  Coded({4}, 0, kFirstMoment), Coded({4}, 0, kSecondMoment)});
  EXPECT_EQ(std::get<0>(at::unique_dim(all, 0)).numel(), all.numel());
  EXPECT_EQ(Coded({2, 3}, 2).flatten()[4].item<double>(), 2 * 4096 + 4);
}

TEST(CodedTest, IsExactInSmallDtypes) {
  for (at::ScalarType dtype : {at::kHalf, at::kBFloat16, at::kByte, at::kChar, at::kBool}) {
    const at::Tensor coded = Coded({300}, 1, 0, dtype);
    EXPECT_EQ(coded.scalar_type(), dtype);
    EXPECT_GT(std::get<0>(at::unique_dim(coded.to(at::kDouble), 0)).numel(), 1);
    EXPECT_TRUE(at::equal(coded.to(at::kDouble), coded.to(at::kDouble).round()));
  }
}

TEST(TileTest, GapsOverlapsAndForeignElementsAreToldApart) {
  const at::Tensor full = Coded({4, 2}, 1);
  const auto rows = [&](int64_t begin, int64_t size) { return full.narrow(0, begin, size); };
  EXPECT_TRUE(Tile("w", full, {rows(2, 2), rows(0, 2)}).ok);
  EXPECT_EQ(Tile("w", full, {rows(0, 2), rows(3, 1)}).message, "w: element 4: expected once, actual 0 times");
  EXPECT_EQ(Tile("w", full, {rows(0, 3), rows(2, 2)}).message, "w: element 4: expected once, actual 2 times");
  EXPECT_THAT(Tile("w", full, {full, at::zeros({1})}).message, HasSubstr("actual 1 with value 0"));
}

TEST(TileTest, EmptyPartsAreAtTheEnd) {
  const at::Tensor some = at::ones({1}), none = at::ones({0});
  EXPECT_TRUE(EmptyOnesAtTheEnd("w", {{some}, {none}, {}}).ok);
  EXPECT_THAT(EmptyOnesAtTheEnd("w", {{some}, {none}, {some}}).message, HasSubstr("rank 2"));
}

TEST(TwinTest, HasTheNamesOfTorchInItsOrder) {
  EXPECT_THAT(Twin(kStack).StateDict().Keys(), ElementsAre("0.weight", "0.bias", "1.weight", "1.bias"));
  const std::vector<std::string> buffers = Twin({.name = "multibuffer"}).StateDict().Keys();
  EXPECT_THAT(buffers, ElementsAre("0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var",
                                   "1.num_batches_tracked", "2.weight"));
}

// y = w2 (w1 x + b1) + b2 with x = 1; the gradient of b2 is the number of rows.
TEST(TwinTest, StepsWithLibTorchsOptimizers) {
  Twin twin(kStack);
  TwinOptimizer sgd(twin, "sgd", {.lr = 0.5, .momentum = 0.5}), adam(twin, "adam");
  twin.Backward(twin.Forward({at::ones({3, 2})}));
  const double before = twin.Parameters().At("1.bias").AsTensor().item<double>();
  sgd.Step();
  EXPECT_EQ(twin.Parameters().At("1.bias").AsTensor().item<double>(), before - 0.5 * 3);
  EXPECT_EQ(sgd.State().At("1.bias").AsDict().At("momentum_buffer").AsTensor().item<double>(), 3);
  EXPECT_TRUE(adam.State().empty());
  adam.Step();
  EXPECT_EQ(adam.State().At("1.bias").AsDict().At("step").AsTensor().item<double>(), 1);
  twin.ZeroGrad();
  EXPECT_TRUE(twin.Gradients().At("1.bias").IsNone());
}

TEST(OptimizerStateTest, StepsAreEqualOrDiffer) {
  const Dict parameters = Twin(kStack).Parameters();
  const auto step = [&](Steps steps, const char* name) {
    return CodedAdamState(parameters, steps).At(name).AsDict().At("step").AsTensor().item<double>();
  };
  EXPECT_EQ(step(Steps::kEqual, "1.bias"), step(Steps::kEqual, "0.weight"));
  EXPECT_NE(step(Steps::kDifferent, "1.bias"), step(Steps::kDifferent, "0.weight"));
}

}  // namespace
}  // namespace shardcts::extended
