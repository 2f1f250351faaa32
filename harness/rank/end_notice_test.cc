#include "rank/end_notice.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "contract/json_codec.h"

namespace shardcts {
namespace {

std::string TextOf(const std::string& file) {
  std::ifstream stream(file);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

// Waits up to 10 s for a whole line.
std::string FirstLineOf(const std::string& file) {
  for (int i = 0; i < 1000 && TextOf(file).find('\n') == std::string::npos; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return TextOf(file);
}

class EndNoticeTest : public testing::Test {
 protected:
  // A rank that leaves its notice and then waits to be killed; `pipe_out` is a file that must close with it.
  pid_t StartRank() {
    EXPECT_EQ(::pipe(pipe_), 0);
    const pid_t rank = ::fork();
    if (rank == 0) {
      LeaveEndNotice(file_, 3);
      ::close(pipe_[0]);
      [[maybe_unused]] const ssize_t written = ::write(pipe_[1], "x", 1);
      ::pause();
    }
    ::close(pipe_[1]);
    char ready;
    EXPECT_EQ(::read(pipe_[0], &ready, 1), 1);
    return rank;
  }
  void Kill(pid_t rank) {
    ::kill(rank, SIGKILL);
    ::waitpid(rank, nullptr, 0);
  }

  std::string file_ = testing::TempDir() + "end_notice_" + std::to_string(::getpid()) + ".jsonl";
  int pipe_[2];
  void TearDown() override {
    ::close(pipe_[0]);
    std::filesystem::remove(file_);
  }
};

TEST_F(EndNoticeTest, KilledRankIsToldOf) {
  const pid_t rank = StartRank();
  EXPECT_EQ(TextOf(file_), "");
  Kill(rank);
  const Json event = Json::parse(FirstLineOf(file_));
  EXPECT_EQ(event.at("event"), "rank_ended");
  EXPECT_EQ(event.at("rank"), 3);
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  EXPECT_NEAR(event.at("time").get<double>(), now, 20);
}

TEST_F(EndNoticeTest, FilesOfTheRankAreNotKeptOpen) {
  Kill(StartRank());
  char byte;
  EXPECT_EQ(::read(pipe_[0], &byte, 1), 0);
}

}  // namespace
}  // namespace shardcts
