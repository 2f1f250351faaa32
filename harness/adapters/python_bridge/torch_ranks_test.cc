// PyTorch as an implementation on several ranks, beside MPI in the same processes.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "adapters/testing/implementation_on_ranks.h"
#include "contract/operation_table.h"

namespace shardcts {
namespace {

class TorchRanksTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { torch_ = std::make_unique<ImplementationOnRanks>("torch"); }
  static void TearDownTestSuite() { torch_.reset(); }

  static Value Call(std::string_view operation, const Dict& arguments) { return torch_->Call(operation, arguments); }

  static Value ShardedLinear() {
    Call("implementation.seed", {{"seed", 42}});
    Value model = Call("model.build", {{"model", "linear"}, {"args", Dict{{"in", 4}, {"out", 5}}}});
    Call("model.wrap", {{"model", model}, {"path", ""}, {"wrapper", "fully_shard"}});
    return model;
  }

  static std::unique_ptr<ImplementationOnRanks> torch_;
};
std::unique_ptr<ImplementationOnRanks> TorchRanksTest::torch_;

TEST_F(TorchRanksTest, StateDictSharesStorageAndGathersToTheWhole) {
  const Value model = ShardedLinear();
  const Dict state = Call("model.state_dict", {{"model", model}}).AsDict();
  const Dict parameters = Call("model.parameters", {{"model", model}}).AsDict();
  const DTensor& weight = state.At("weight").AsDTensor();
  EXPECT_EQ(weight.local.data_ptr(), parameters.At("weight").AsDTensor().local.data_ptr());
  EXPECT_EQ(weight.placements, std::vector<Placement>{Placement::Shard(0)});
  EXPECT_EQ(weight.mesh.shape, std::vector<int64_t>{World().size()});

  Call("implementation.seed", {{"seed", 42}});
  const Value plain = Call("model.build", {{"model", "linear"}, {"args", Dict{{"in", 4}, {"out", 5}}}});
  const Dict expected = Call("model.state_dict", {{"model", plain}}).AsDict();
  const Value full = Call("tensor.full", {{"value", state.At("weight")}});
  EXPECT_TRUE(at::equal(full.AsTensor(), expected.At("weight").AsTensor()));
}

TEST_F(TorchRanksTest, GraphOfTheOutputSurvivesTheBorder) {
  const Value model = ShardedLinear();
  const Value output = Call("model.forward", {{"model", model}, {"inputs", List{at::ones({2, 4})}}});
  Call("model.backward", {{"model", model}, {"output", output}});
  const Dict gradients = Call("model.gradients", {{"model", model}}).AsDict();
  const at::Tensor& local = gradients.At("weight").AsDTensor().local;
  EXPECT_TRUE(at::equal(local, at::full_like(local, 2)));
}

TEST_F(TorchRanksTest, EveryOperationOfItsCapabilitiesIsImplemented) {
  const std::set<std::string_view> not_declared{"delayed_transport", "timings", "storage_verify", "storage_planning"};
  for (const OperationSpec& operation : Operations()) {
    if (not_declared.contains(operation.capability)) continue;
    if (operation.name == "implementation.reset" || operation.name == "implementation.describe") continue;
    const Outcome outcome = torch_->Invoke(operation.name, {{"no_such_argument", 1}});
    ASSERT_FALSE(outcome.ok()) << operation.name;
    EXPECT_EQ(outcome.error().kind, "TypeError") << operation.name << ": " << outcome.error().message;
  }
}

TEST_F(TorchRanksTest, ResetEndsHandlesAndKeepsProcessGroups) {
  const Value model = ShardedLinear();
  Call("implementation.reset", {});
  EXPECT_EQ(torch_->Invoke("model.state_dict", {{"model", model}}).error().kind, "ValueError");
  const Value again = ShardedLinear();
  Call("model.forward", {{"model", again}, {"inputs", List{at::ones({2, 4})}}});
}

}  // namespace
}  // namespace shardcts

int main(int argc, char** argv) {
  return shardcts::RunRankTests(argc, argv, {.limit_per_test = std::chrono::seconds(60)});
}
