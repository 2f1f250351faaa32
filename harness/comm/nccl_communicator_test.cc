// The NCCL backend passes the conformance tests on the emulator, survives the emulator's faults, and says what it is.
#include "comm/nccl_communicator.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "comm/conformance/ranks.h"
#include "comm/nccl_library.h"
#include "comm/testing/communicator_rendezvous.h"
#include "comm/testing/rank_tests.h"

namespace shardcts {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using Clock = std::chrono::steady_clock;

std::shared_ptr<const NcclLibrary> Emulator() {
  static const std::shared_ptr<const NcclLibrary> library = LoadNcclEmulator(SHARDCTS_NCCL_EMULATOR);
  return library;
}

std::unique_ptr<Communicator> MakeWorld(milliseconds timeout = CallState::kDefaultTimeout) {
  CommunicatorRendezvous rendezvous(World());
  return MakeNcclCommunicator(rendezvous, Emulator(), World().rank(), timeout);
}

}  // namespace

void RunOnRanks(const std::function<void(Communicator& world)>& body) { body(*MakeWorld()); }

std::string BackendUnderTest() { return "nccl (emulator)"; }

namespace {

// The fault that the emulator has on this rank, while in scope.
class ScopedFault {
 public:
  explicit ScopedFault(const std::string& fault) { setenv(kVariable, fault.c_str(), 1); }
  ~ScopedFault() { unsetenv(kVariable); }
  ScopedFault(const ScopedFault&) = delete;
  ScopedFault& operator=(const ScopedFault&) = delete;

 private:
  static constexpr char kVariable[] = "SHARDCTS_NCCL_EMULATOR_FAULT";
};

// The error text of an all-reduce that has 300 ms, "no error" when it ends well.
std::string TextOfAllReduce(Communicator& group) {
  group.SetDeadline(Clock::now() + milliseconds(300));
  try {
    at::Tensor tensor = at::ones({1000});
    group.AllReduce(tensor, ReduceOp::kSum);
  } catch (const CommunicationError& error) {
    return error.what();
  }
  return "no error";
}

const std::string& LastRank() {
  static const std::string rank = std::to_string(World().size() - 1);
  return rank;
}

bool IsLastRank() { return World().rank() == World().size() - 1; }

TEST(NcclLibraryTest, TheEmulatorSaysThatItIsOne) {
  EXPECT_TRUE(Emulator()->emulator);
  EXPECT_THAT(Emulator()->version, testing::MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+ \\(emulator\\)"));
}

TEST(NcclLibraryTest, WhatCannotBeLoadedIsNamed) {
  const auto text = [](const std::string& path) -> std::string {
    try {
      LoadNcclEmulator(path);
    } catch (const NcclNotUsable& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_THAT(text("/nowhere/libnccl.so"), HasSubstr("cannot be loaded: /nowhere/libnccl.so: "));
  EXPECT_THAT(text("libc.so.6"), HasSubstr("libc.so.6: is not the NCCL emulator"));
}

TEST(NcclCommunicatorTest, EveryRankSeesAnAsynchronousErrorOfItsOwn) {
  std::unique_ptr<Communicator> world = MakeWorld();
  {
    const ScopedFault fault("async_error");
    EXPECT_THAT(TextOfAllReduce(*world),
                HasSubstr("nccl (emulator) all_reduce on rank " + std::to_string(World().rank()) + " in group [0"));
    EXPECT_FALSE(world->usable());
  }
  EXPECT_THAT(TextOfAllReduce(*world), HasSubstr("an earlier call of this communicator has failed"));
  EXPECT_EQ(TextOfAllReduce(*MakeWorld()), "no error") << "a new communicator works";
}

TEST(NcclCommunicatorTest, AsynchronousErrorOfOneRankLeavesTheOthersToTheirDeadline) {
  std::unique_ptr<Communicator> world = MakeWorld();
  const ScopedFault fault("async_error@" + LastRank());
  EXPECT_THAT(TextOfAllReduce(*world), HasSubstr(IsLastRank() ? "remote process exited" : "deadline"));
}

TEST(NcclCommunicatorTest, ErrorAtTheCallItself) {
  std::unique_ptr<Communicator> world = MakeWorld();
  const ScopedFault fault("sync_error");
  EXPECT_THAT(TextOfAllReduce(*world), HasSubstr("internal error: an injected error"));
}

TEST(NcclCommunicatorTest, CallThatNeverEndsIsEndedByTheDeadline) {
  std::unique_ptr<Communicator> world = MakeWorld();
  const ScopedFault fault("stall@" + LastRank());
  const Clock::time_point start = Clock::now();
  EXPECT_THAT(TextOfAllReduce(*world), HasSubstr("deadline"));
  EXPECT_LT(Clock::now() - start, milliseconds(3000));
}

TEST(NcclCommunicatorTest, PeerThatNeverArrivesEndsTheMakingOfAWorld) {
  const ScopedFault fault("absent@" + LastRank());
  const Clock::time_point start = Clock::now();
  try {
    MakeWorld(milliseconds(300));
    ADD_FAILURE() << "it was made";
  } catch (const CommunicationError& error) {
    EXPECT_THAT(error.what(), HasSubstr("init on rank " + std::to_string(World().rank())));
    EXPECT_THAT(error.what(), HasSubstr("deadline"));
  }
  EXPECT_LT(Clock::now() - start, milliseconds(3000));
}

TEST(NcclCommunicatorTest, FaultInASplitOffGroupLeavesItsParent) {
  std::unique_ptr<Communicator> world = MakeWorld();
  std::unique_ptr<Communicator> group = world->Split(0, world->rank());
  {
    const ScopedFault fault("async_error");
    EXPECT_THAT(TextOfAllReduce(*group), HasSubstr("remote process exited"));
  }
  EXPECT_EQ(TextOfAllReduce(*world), "no error");
}

TEST(NcclCommunicatorTest, RanksThatCallDifferentThings) {
  if (World().size() == 1) GTEST_SKIP() << "needs a peer";
  std::unique_ptr<Communicator> world = MakeWorld();
  world->SetDeadline(Clock::now() + milliseconds(300));
  EXPECT_THROW(world->AllReduce(at::ones({IsLastRank() ? 2 : 3}), ReduceOp::kSum), CommunicationError);
}

TEST(NcclCommunicatorTest, HalfTypesAreRoundedAtEachStep) {
  // 256 + 1 is not a bfloat16 (8 bits); NCCL's own reduction loses the ones, and so does the emulator's.
  at::Tensor tensor = at::full({3}, World().rank() == 0 ? 256.0 : 1.0, at::kBFloat16);
  MakeWorld()->AllReduce(tensor, ReduceOp::kSum);
  EXPECT_TRUE(at::equal(tensor, at::full({3}, 256.0, at::kBFloat16))) << tensor;
}

}  // namespace
}  // namespace shardcts
