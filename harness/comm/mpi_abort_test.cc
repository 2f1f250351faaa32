// A call that cannot finish ends within its deadline or at an abort, and so does the process.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "comm/mpi_communicator.h"
#include "comm/rank_test_main.h"

namespace shardcts {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// The error text of an all-reduce that the last rank does not join.
std::string TextOfLonelyAllReduce(Communicator& group) {
  try {
    at::Tensor tensor = at::ones({1000});
    group.AllReduce(tensor, ReduceOp::kSum);
  } catch (const CommunicationError& error) {
    return error.what();
  }
  return "no error";
}

class MpiAbortTest : public testing::Test {
 protected:
  std::unique_ptr<Communicator> group_ = World().Split(0, World().rank());
  const bool joins_ = World().rank() != World().size() - 1;
};

TEST_F(MpiAbortTest, DeadlineEndsAWait) {
  if (joins_) {
    const Clock::time_point start = Clock::now();
    group_->SetDeadline(start + milliseconds(300));
    const std::string text = TextOfLonelyAllReduce(*group_);
    EXPECT_LT(Clock::now() - start, milliseconds(3000));
    EXPECT_THAT(text, testing::HasSubstr("all_reduce on rank " + std::to_string(World().rank()) + " in group [0,1"));
    EXPECT_THAT(text, testing::HasSubstr("deadline"));
    EXPECT_THROW(group_->Barrier(), CommunicationError) << "it is unusable afterwards";
  }
  World().Barrier();  // where it came from lives on
}

TEST_F(MpiAbortTest, AbortFromAnotherThreadEndsAWaitInASplitOffGroup) {
  std::unique_ptr<Communicator> inner = group_->Split(0, World().rank());
  if (joins_) {
    std::thread aborter([&] {
      std::this_thread::sleep_for(milliseconds(200));
      group_->Abort("rank 2 failed a check");
    });
    EXPECT_THAT(TextOfLonelyAllReduce(*inner), testing::HasSubstr("aborted: rank 2 failed a check"));
    aborter.join();
    EXPECT_THROW(group_->Barrier(), CommunicationError);
  }
  World().Barrier();
}

TEST_F(MpiAbortTest, SignalOfAPeerEndsAWaitElsewhere) {
  std::unique_ptr<Communicator> inner = group_->Split(0, World().rank());
  group_->AbortWhen([]() -> std::optional<std::string> {
    const std::vector<int64_t> numbers = World().Signals();
    if (numbers.empty()) return std::nullopt;
    return "signal " + std::to_string(numbers.front());
  });
  if (joins_) {
    EXPECT_TRUE(group_->usable());
    EXPECT_THAT(TextOfLonelyAllReduce(*inner), testing::HasSubstr("aborted: signal 42"));
    EXPECT_FALSE(group_->usable()) << "a group split from it has failed";
  } else {
    World().Signal(42);
  }
  World().Barrier();
  EXPECT_THAT(World().Signals(), testing::IsEmpty());
}

TEST_F(MpiAbortTest, BuffersOfAnUnfinishedCallMayBeReused) {
  if (joins_) {
    group_->SetDeadline(Clock::now() + milliseconds(100));
    TextOfLonelyAllReduce(*group_);
  }
  for (int i = 0; i < 50; ++i) {
    at::Tensor tensor = at::full({1000}, 1.0);
    World().AllReduce(tensor, ReduceOp::kSum);
    ASSERT_TRUE(at::equal(tensor, at::full({1000}, static_cast<double>(World().size()))));
  }
}

}  // namespace
}  // namespace shardcts
