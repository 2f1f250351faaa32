// The staged communicator passes the conformance tests with tensors of the emulated accelerator: host tensors are staged
// to hostdev, and these over shared memory. All ranks share one device.
#include "comm/staged_communicator.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/conformance/ranks.h"
#include "comm/local_communicator.h"
#include "comm/testing/communicator_rendezvous.h"
#include "comm/testing/rank_tests.h"
#include "devices/hostdev/device_name.h"

namespace shardcts {
namespace {

const at::Device kDevice(at::kPrivateUse1, 0);

std::unique_ptr<Communicator> OnDevice() {
  EXPECT_THAT(shardcts_hostdev_name(), testing::HasSubstr("no GPU"));  // the call also makes the linker keep the library
  CommunicatorRendezvous rendezvous(World());
  return MakeStagedCommunicator(MakeLocalCommunicator(rendezvous), kDevice);
}

}  // namespace

void RunOnRanks(const std::function<void(Communicator& world)>& body) {
  body(*MakeStagedCommunicator(OnDevice(), at::kCPU));
}

std::string BackendUnderTest() { return "staged over staged over local"; }

namespace {

TEST(StagedCommunicatorTest, GroupsSplitFromItAreOnTheDevice) {
  const std::unique_ptr<Communicator> world = OnDevice();
  EXPECT_EQ(world->device(), kDevice);
  EXPECT_EQ(world->backend(), "staged over local");
  const std::unique_ptr<Communicator> group = world->Split(world->rank() % 2, 0);
  EXPECT_EQ(group->device(), kDevice);
  at::Tensor sum = at::ones({3}, at::device(kDevice));
  group->AllReduce(sum, ReduceOp::kSum);
  EXPECT_TRUE(at::equal(sum.cpu(), at::full({3}, static_cast<double>(group->size()))));
}

// Work on the device is late: what is sent must be what it will be.
TEST(StagedCommunicatorTest, WhatIsSentIsWaitedFor) {
  const std::unique_ptr<Communicator> world = OnDevice();
  const at::Tensor mine = at::full({1000}, world->rank() + 1.0, at::device(kDevice)) * 2;
  at::Tensor all = at::empty({1000 * world->size()}, at::device(kDevice));
  world->AllGatherInto(all, mine);
  const at::Tensor expected = at::arange(1, world->size() + 1, at::kFloat).mul_(2).repeat_interleave(1000);
  EXPECT_TRUE(at::equal((all + 0).cpu(), expected));
}

TEST(StagedCommunicatorTest, TensorsOfAnotherDeviceAreRefused) {
  const std::unique_ptr<Communicator> world = OnDevice();
  EXPECT_THROW(world->AllReduce(at::ones({2}), ReduceOp::kSum), std::invalid_argument);
  EXPECT_THROW(world->Broadcast(at::ones({2, 2}, at::device(kDevice)).t(), 0), std::invalid_argument);
}

// Autograd compares versions: the write of a collective is none of its changes in place.
TEST(StagedCommunicatorTest, AutogradDoesNotSeeWhatIsReceived) {
  const std::unique_ptr<Communicator> world = OnDevice();
  const at::Tensor weight = at::ones({4}, at::device(kDevice)).set_requires_grad(true);
  const at::Tensor loss = (weight * weight).sum();
  world->Broadcast(weight.detach(), 0);
  loss.backward();
  EXPECT_TRUE(at::equal(weight.grad().cpu(), at::full({4}, 2.0)));
}

}  // namespace
}  // namespace shardcts
