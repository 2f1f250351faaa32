// What a full state dict costs in memory, on rank 0 and on the others, measured on real ranks.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "adapters/implementation_on_ranks.h"
#include "adapters/memory_growth.h"

namespace shardcts {
namespace {

// 7 units of one Linear without bias each, so that every flat parameter is as large as the largest, and larger than
// what the allocator keeps for itself when it is freed. The root manages nothing.
constexpr int64_t kWidth = 3000;
constexpr int64_t kUnits = 7;
constexpr int64_t kFlatBytes = kWidth * kWidth * 4;
constexpr int64_t kModelBytes = kUnits * kFlatBytes;
static_assert(kModelBytes >= 200'000'000);

// What rank0_only with offload_to_cpu costs, beside the shards that are there.
struct Cost {
  const char* implementation;
  int64_t copies;           // of the model that rank 0 holds afterwards
  int64_t flat_parameters;  // that are there at a time on the other ranks
};
// PyTorch over gloo on a CPU: docs/deviations.md, "Full state dicts in memory".
constexpr Cost kCosts[] = {{"reference", 1, 1}, {"torch", 2, 2}};

class FsdpMemoryTest : public ::testing::TestWithParam<Cost> {
 protected:
  void SetUp() override {
    const Dict args{{"sizes", List(kUnits + 1, kWidth)}, {"bias", false}};
    model_ = implementation_.Call("model.build", {{"model", "linear_stack"}, {"args", args}});
    const Dict policy{{"kind", "module_classes"}, {"classes", List{"Linear"}}};
    implementation_.Call(
        "model.wrap",
        {{"model", model_}, {"path", ""}, {"wrapper", "fsdp"}, {"options", Dict{{"auto_wrap_policy", policy}}}});
  }

  void SetType(bool rank0_only_and_offload) {
    const Dict config{{"class", "FullStateDictConfig"},
                      {"offload_to_cpu", rank0_only_and_offload},
                      {"rank0_only", rank0_only_and_offload}};
    implementation_.Call("fsdp.set_state_dict_type", {{"model", model_}, {"type", "FULL"}, {"config", config}});
  }

  // *Collective*. What a save takes at its peak and when it is done, in bytes over what was there.
  struct Taken {
    Dict saved;
    int64_t peak = 0;
    int64_t held = 0;
  };
  Taken Save() {
    World().Barrier();
    const MemoryGrowth growth;
    Taken taken;
    taken.saved = implementation_.Call("model.state_dict", {{"model", model_}}).AsDict();
    taken.peak = growth.PeakBytes();
    taken.held = growth.BytesNow();
    std::printf("%s rank %d: shard %ld, flat parameter %ld, model %ld, peak %ld, held %ld bytes\n",
                GetParam().implementation, World().rank(), kModelBytes / World().size(), kFlatBytes, kModelBytes,
                taken.peak, taken.held);
    World().Barrier();
    return taken;
  }

  ImplementationOnRanks implementation_{GetParam().implementation};
  Value model_;
};

INSTANTIATE_TEST_SUITE_P(All, FsdpMemoryTest, testing::ValuesIn(kCosts),
                         [](const auto& info) { return std::string(info.param.implementation); });

TEST_P(FsdpMemoryTest, Rank0OnlyWithOffloadTakesACopyOnRank0AndAFlatParameterElsewhere) {
  SetType(/*rank0_only_and_offload=*/true);
  const Taken taken = Save();
  // Below as well as above: a cost that is lower than the table says is news.
  if (World().rank() == 0) {
    const int64_t copies = GetParam().copies * kModelBytes;
    EXPECT_EQ(taken.saved.size(), static_cast<size_t>(kUnits));
    EXPECT_NEAR(taken.held, copies, kAllowanceBytes);
    EXPECT_LT(taken.peak, copies + kFlatBytes + kAllowanceBytes);
  } else {
    EXPECT_EQ(taken.saved.size(), 0u);
    EXPECT_NEAR(taken.held, 0, kAllowanceBytes);
    EXPECT_LT(taken.peak, GetParam().flat_parameters * kFlatBytes + kAllowanceBytes);
    EXPECT_GT(taken.peak, (GetParam().flat_parameters - 1) * kFlatBytes - kAllowanceBytes);
  }
}

TEST_P(FsdpMemoryTest, WithoutBothEveryRankHoldsOneCopy) {
  SetType(/*rank0_only_and_offload=*/false);
  const Taken taken = Save();
  EXPECT_EQ(taken.saved.size(), static_cast<size_t>(kUnits));
  EXPECT_NEAR(taken.held, kModelBytes, kAllowanceBytes);
  EXPECT_LT(taken.peak, kModelBytes + kFlatBytes + kAllowanceBytes);
}

}  // namespace
}  // namespace shardcts

int main(int argc, char** argv) {
  return shardcts::RunRankTests(argc, argv, {.limit_per_test = std::chrono::seconds(60)});
}
