#include "comm/rank_test_main.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <iostream>
#include <string>

#include "comm/mpi_communicator.h"
#include "comm/mpi_session.h"

namespace shardcts {
namespace {

std::unique_ptr<Communicator>& WorldSlot() {
  static std::unique_ptr<Communicator> world;
  return world;
}

// Says which rank failed, and gives each test its deadline.
class RankListener : public testing::EmptyTestEventListener {
 public:
  explicit RankListener(std::chrono::seconds limit_per_test) : limit_per_test_(limit_per_test) {}

 private:
  void OnTestStart(const testing::TestInfo& info) override {
    test_ = info.name();
    World().SetDeadline(std::chrono::steady_clock::now() + limit_per_test_);
  }
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::cerr << "rank " << World().rank() << " of " << World().size() << " failed "
              << test_ << " at " << (result.file_name() ? result.file_name() : "?")
              << ":" << result.line_number() << "\n"
              << result.message() << std::endl;
  }
  void OnTestEnd(const testing::TestInfo&) override { test_ = "outside a test"; }

  std::chrono::seconds limit_per_test_;
  // GoogleTest's own accessor locks a mutex that it holds while it reports.
  std::string test_ = "outside a test";
};

}  // namespace

Communicator& World() { return *WorldSlot(); }

int RunRankTests(int argc, char** argv, const RankTestSettings& settings) {
  testing::InitGoogleTest(&argc, argv);
  if (settings.threads) at::set_num_threads(*settings.threads);
  const MpiSession session(&argc, &argv);
  WorldSlot() = MakeMpiCommunicator();
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  if (session.rank() != 0) delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new RankListener(settings.limit_per_test));
  const int code = RUN_ALL_TESTS();
  WorldSlot().reset();
  return code;
}

}  // namespace shardcts
