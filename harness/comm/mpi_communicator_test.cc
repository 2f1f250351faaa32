// The MPI backend passes the conformance tests, and what it promises beyond them.
#include "comm/mpi_communicator.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/conformance/ranks.h"
#include "comm/group_calls.h"
#include "comm/mpi_session.h"
#include "comm/testing/rank_tests.h"

namespace shardcts {

void RunOnRanks(const std::function<void(Communicator& world)>& body) { body(World()); }

std::string BackendUnderTest() { return "mpi"; }

namespace {

TEST(MpiCommunicatorTest, LocalRankCountsTheRanksOfThisHost) { EXPECT_EQ(LocalRank(World()), World().rank()); }

TEST(MpiCommunicatorTest, HalfTypesAreRoundedOnce) {
  // 256 + 1 is not a bfloat16 (8 bits): adding the ones one by one to 256 in bfloat16 would lose all of them.
  at::Tensor tensor = at::full({3}, World().rank() == 0 ? 256.0 : 1.0, at::kBFloat16);
  World().AllReduce(tensor, ReduceOp::kSum);
  EXPECT_TRUE(at::equal(tensor, at::full({3}, 256.0 + World().size() - 1).to(at::kBFloat16)));
}

}  // namespace
}  // namespace shardcts

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const shardcts::MpiSession session(&argc, &argv);
  return shardcts::RunTestsOn(shardcts::MakeMpiCommunicator());
}
