#include "process/workers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace shardcts {
namespace {

using namespace std::chrono_literals;

class WorkersTest : public testing::Test {
 protected:
  std::mutex mutex_;
  std::atomic<bool> interrupted_ = false, stop_ = false;
};

TEST_F(WorkersTest, EachPieceIsDoneOnce) {
  for (const size_t threads : {0, 1, 3, 100}) {
    std::multiset<size_t> done;
    RunPieces(7, threads, [&](size_t piece) {
      const std::lock_guard lock(mutex_);
      done.insert(piece);
    }, interrupted_, stop_);
    EXPECT_THAT(done, testing::ElementsAre(0, 1, 2, 3, 4, 5, 6)) << threads << " threads";
  }
  EXPECT_FALSE(stop_);
}

TEST_F(WorkersTest, NoPieceIsNoWork) {
  RunPieces(0, 4, [](size_t) { FAIL(); }, interrupted_, stop_);
}

TEST_F(WorkersTest, AsManyAtATimeAsThreads) {
  int running = 0, most = 0;
  RunPieces(9, 3, [&](size_t) {
    {
      const std::lock_guard lock(mutex_);
      most = std::max(most, ++running);
    }
    std::this_thread::sleep_for(20ms);
    const std::lock_guard lock(mutex_);
    --running;
  }, interrupted_, stop_);
  EXPECT_EQ(most, 3);
}

TEST_F(WorkersTest, FirstExceptionStopsTheOthersAndIsThrown) {
  std::atomic<int> begun = 0;
  const auto work = [&](size_t piece) {
    ++begun;
    if (piece == 0) throw std::runtime_error("piece 0");
    while (!stop_) std::this_thread::sleep_for(1ms);
  };
  EXPECT_THAT([&] { RunPieces(50, 2, work, interrupted_, stop_); },
              testing::ThrowsMessage<std::runtime_error>(std::string("piece 0")));
  EXPECT_LE(begun, 2);
}

TEST_F(WorkersTest, InterruptionReachesThePieces) {
  std::atomic<int> begun = 0;
  const auto work = [&](size_t) {
    ++begun;
    interrupted_ = true;
    while (!stop_) std::this_thread::sleep_for(1ms);
  };
  RunPieces(50, 2, work, interrupted_, stop_);
  EXPECT_LE(begun, 2);
}

TEST_F(WorkersTest, ThreadsLiveUntilTheLastPieceIsBack) {
  std::atomic<bool> ended = false;
  struct Mark {
    std::atomic<bool>& ended;
    ~Mark() { ended = true; }
  };
  RunPieces(2, 2, [&](size_t piece) {
    if (piece == 0) {
      thread_local Mark mark{ended};
      (void)mark;
    } else {
      std::this_thread::sleep_for(50ms);
      EXPECT_FALSE(ended);
    }
  }, interrupted_, stop_);
  EXPECT_TRUE(ended);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they need more addresses than this test leaves
TEST_F(WorkersTest, FewerThreadsDoWhereTheSystemGivesNoMore) {
  const auto run_with_room_for_few = [&] {
    std::ifstream statm("/proc/self/statm");
    rlim_t pages = 0;
    statm >> pages;
    const rlim_t bytes = pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + (rlim_t{20} << 20);  // two stacks
    const rlimit limit{bytes, bytes};
    setrlimit(RLIMIT_AS, &limit);
    std::atomic<int> done = 0;
    std::set<std::thread::id> workers;
    RunPieces(40, 20, [&](size_t) {
      ++done;
      const std::lock_guard lock(mutex_);
      workers.insert(std::this_thread::get_id());
      std::this_thread::sleep_for(1ms);
    }, interrupted_, stop_);
    std::exit(done == 40 && workers.size() < 20 ? 0 : 1);
  };
  EXPECT_EXIT(run_with_room_for_few(), testing::ExitedWithCode(0), "");
}
#endif

}  // namespace
}  // namespace shardcts
