#include "comm/testing/rank_tests.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <charconv>
#include <cstring>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "comm/local_communicator.h"
#include "comm/testing/fork_ranks.h"

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

constexpr int kMostRanks = 256;

// The N of --ranks N, which it takes out of the words; 0: there is none, or it is no such number.
int TakeRanks(int& argc, char** argv) {
  int ranks = 0;
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) != "--ranks" || i + 1 == argc) {
      argv[kept++] = argv[i];
      continue;
    }
    const std::string_view number = argv[++i];
    const auto [end, error] = std::from_chars(number.begin(), number.end(), ranks);
    if (error != std::errc() || end != number.end() || ranks > kMostRanks) return 0;
  }
  argc = kept;
  return std::max(ranks, 0);
}

// Says how the rank ended, where it did not say so itself.
bool HasPassed(const ForkedRank& rank, size_t number) {
  if (WIFSIGNALED(rank.status)) {
    std::cerr << "rank " << number << " was ended by signal " << WTERMSIG(rank.status) << " ("
              << strsignal(WTERMSIG(rank.status)) << ")\n";
  }
  return rank.status == 0;
}

// How long the other ranks have to end when one has failed: they see that it is gone in the test that they are in.
constexpr std::chrono::seconds kGrace{10};

}  // namespace

Communicator& World() { return *WorldSlot(); }

int RunTestsOn(std::unique_ptr<Communicator> world, const RankTestSettings& settings) {
  at::set_num_threads(settings.threads);
  WorldSlot() = std::move(world);
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  if (World().rank() != 0) delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new RankListener(settings.limit_per_test));
  const int code = RUN_ALL_TESTS();
  WorldSlot().reset();
  return code;
}

int RunRankTests(int argc, char** argv, const RankTestSettings& settings) {
  const int ranks = TakeRanks(argc, argv);
  testing::InitGoogleTest(&argc, argv);
  if (ranks == 0 || argc > 1) {
    std::cerr << "usage: " << argv[0] << " --ranks N [GoogleTest's options], N from 1 to " << kMostRanks << "\n";
    return 2;
  }
  const std::vector<ForkedRank> ended = ForkRanks(ranks, kGrace, [&](Rendezvous& rendezvous) {
    return RunTestsOn(MakeLocalCommunicator(rendezvous), settings);
  });
  bool passed = true;
  for (size_t rank = 0; rank < ended.size(); ++rank) passed &= HasPassed(ended[rank], rank);
  return passed ? 0 : 1;
}

}  // namespace shardcts
