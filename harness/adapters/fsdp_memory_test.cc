// What a full state dict costs in memory, on rank 0 and on the others, measured on the resident set of real ranks.
#include <gtest/gtest.h>
#include <malloc.h>

#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <string>

#include "adapters/loader.h"
#include "comm/rank_test_main.h"

namespace shardcts {
namespace {

// 7 units of one Linear without bias each, so that every flat parameter is as large as the largest, and larger than
// what the allocator keeps for itself when it is freed. The root manages nothing.
constexpr int64_t kWidth = 3000;
constexpr int64_t kUnits = 7;
constexpr int64_t kFlatBytes = kWidth * kWidth * 4;
constexpr int64_t kModelBytes = kUnits * kFlatBytes;
static_assert(kModelBytes >= 200'000'000);

// For what else a call touches for the first time: the transport's shared memory (of our MPI all-gather 16 slots of 256
// KiB for each of the two ranks), code pages, small objects.
constexpr int64_t kAllowanceBytes = 2 * 16 * (256 << 10) + 4'000'000;

// What rank0_only with offload_to_cpu costs, beside the shards that are there.
struct Cost {
  const char* implementation;
  int64_t copies;           // of the model that rank 0 holds afterwards
  int64_t flat_parameters;  // that are there at a time on the other ranks
};
// PyTorch over gloo on a CPU: docs/deviations.md, "Full state dicts in memory".
constexpr Cost kCosts[] = {{"reference", 1, 1}, {"torch", 2, 2}};

// A line of /proc/self/status, in bytes.
int64_t StatusBytes(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name + ":")) return std::stoll(line.substr(name.size() + 1)) * 1024;
  }
  throw std::runtime_error("/proc/self/status has no " + name);
}

// Of this process, over what was resident when it was made.
class ResidentGrowth {
 public:
  ResidentGrowth() {
    malloc_trim(0);
    std::ofstream("/proc/self/clear_refs") << "5" << std::flush;  // the peak becomes what is resident now
    start_ = StatusBytes("VmRSS");
  }
  int64_t PeakBytes() const { return StatusBytes("VmHWM") - start_; }
  int64_t BytesNow() const { return StatusBytes("VmRSS") - start_; }

 private:
  int64_t start_ = 0;
};

class FsdpMemoryTest : public ::testing::TestWithParam<Cost> {
 protected:
  void SetUp() override {
    ImplementationContext context;
    context.rank = World().rank();
    context.world_size = World().size();
    context.local_rank = World().rank();
    context.run_folder = ::testing::TempDir();
    context.options = {{"timeout_s", "60"}};
    context.communicator = &World();
    implementation_ = LoadImplementation(GetParam().implementation, context);
    model_ = Call("model.build",
                  {{"model", "linear_stack"}, {"args", Dict{{"sizes", List(kUnits + 1, kWidth)}, {"bias", false}}}});
    const Dict policy{{"kind", "module_classes"}, {"classes", List{"Linear"}}};
    Call("model.wrap",
         {{"model", model_}, {"path", ""}, {"wrapper", "fsdp"}, {"options", Dict{{"auto_wrap_policy", policy}}}});
  }

  Value Call(std::string_view operation, const Dict& arguments) {
    const Outcome outcome = implementation_->Invoke(operation, arguments);
    EXPECT_TRUE(outcome.ok()) << operation << ": " << outcome.error().message;
    return outcome.ok() ? outcome.value() : Value();
  }

  void SetType(bool rank0_only_and_offload) {
    const Dict config{{"class", "FullStateDictConfig"},
                      {"offload_to_cpu", rank0_only_and_offload},
                      {"rank0_only", rank0_only_and_offload}};
    Call("fsdp.set_state_dict_type", {{"model", model_}, {"type", "FULL"}, {"config", config}});
  }

  // *Collective*. What a save takes at its peak and when it is done, in bytes over what was there.
  struct Taken {
    Dict saved;
    int64_t peak = 0;
    int64_t held = 0;
  };
  Taken Save() {
    World().Barrier();
    const ResidentGrowth growth;
    Taken taken;
    taken.saved = Call("model.state_dict", {{"model", model_}}).AsDict();
    taken.peak = growth.PeakBytes();
    taken.held = growth.BytesNow();
    std::printf("%s rank %d: shard %ld, flat parameter %ld, model %ld, peak %ld, held %ld bytes\n",
                GetParam().implementation, World().rank(), kModelBytes / World().size(), kFlatBytes, kModelBytes,
                taken.peak, taken.held);
    World().Barrier();
    return taken;
  }

  std::unique_ptr<LoadedImplementation> implementation_;
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
  return shardcts::RunRankTests(argc, argv, {.limit_per_test = std::chrono::seconds(60), .threads = 1});
}
