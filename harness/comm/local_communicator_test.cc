// The local backend passes the conformance tests, and what it promises beyond them.
#include "comm/local_communicator.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/conformance/ranks.h"
#include "comm/group_calls.h"
#include "comm/testing/rank_tests.h"

namespace shardcts {

void RunOnRanks(const std::function<void(Communicator& world)>& body) { body(World()); }

std::string BackendUnderTest() { return "local"; }

namespace {

TEST(LocalCommunicatorTest, LocalRankCountsTheRanksOfThisHost) { EXPECT_EQ(LocalRank(World()), World().rank()); }

}  // namespace
}  // namespace shardcts
