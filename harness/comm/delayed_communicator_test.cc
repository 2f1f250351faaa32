// A communicator whose calls are late passes the conformance tests, and says until when its outputs are not there.
#include "comm/delayed_communicator.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "comm/conformance/ranks.h"
#include "comm/testing/rank_tests.h"

namespace shardcts {
namespace {

std::shared_ptr<TransportDelay> DelayOf(uint64_t seed) {
  auto delay = std::make_shared<TransportDelay>();
  delay->Set(seed + static_cast<uint64_t>(World().rank()));
  return delay;
}

}  // namespace

void RunOnRanks(const std::function<void(Communicator& world)>& body) {
  body(*MakeDelayedCommunicator(World(), DelayOf(7)));
}

std::string BackendUnderTest() { return "local"; }

namespace {

TEST(TransportDelayTest, SeedDecides) {
  TransportDelay one, same, other;
  EXPECT_EQ(one.Next(), std::nullopt);
  one.Set(1);
  same.Set(1);
  other.Set(2);
  bool differs = false;
  for (int call = 0; call < 64; ++call) {
    const auto delay = one.Next();
    EXPECT_EQ(delay, same.Next());
    differs |= delay != other.Next();
  }
  EXPECT_TRUE(differs);
  one.Set(std::nullopt);
  EXPECT_EQ(one.Next(), std::nullopt);
}

TEST(DelayedCommunicatorTest, OutputsArePoisonUntilTheyAreThere) {
  OnEveryRank([](Communicator&) {
    const std::unique_ptr<Communicator> group = World().Split(World().rank(), 0);  // to be broken
    group->Abort("before the call");
    at::Tensor output = at::zeros({4});
    EXPECT_THROW(MakeDelayedCommunicator(*group, DelayOf(7))->AllGatherInto(output, at::ones({4})), CommunicationError);
    EXPECT_TRUE(output.isnan().all().item<bool>());
  });
}

TEST(DelayedCommunicatorTest, InputThatSharesItsOutputsMemoryIsKept) {
  const std::unique_ptr<Communicator> world = MakeDelayedCommunicator(World(), DelayOf(7));
  for (int call = 0; call < 16; ++call) {
    at::Tensor all = at::zeros({2 * world->size()});
    const at::Tensor own = all.narrow(0, 2 * world->rank(), 2).fill_(world->rank());
    world->AllGatherInto(all, own);
    EXPECT_TRUE(at::equal(all, at::arange(world->size(), at::kFloat).repeat_interleave(2)));
  }
}

TEST(DelayedCommunicatorTest, NothingIsPoisonWithoutASeed) {
  OnEveryRank([](Communicator&) {
    const std::unique_ptr<Communicator> group = World().Split(World().rank(), 0);
    group->Abort("before the call");
    at::Tensor output = at::zeros({4});
    EXPECT_THROW(MakeDelayedCommunicator(*group, std::make_shared<TransportDelay>())->AllGatherInto(output, at::ones({4})),
                 CommunicationError);
    EXPECT_TRUE(at::equal(output, at::zeros({4})));
  });
}

}  // namespace
}  // namespace shardcts
