#include "process/stacks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "process/process.h"
#include "testing/temporary_folder.h"

namespace shardcts {
namespace {

using testing::HasSubstr;

// Until the state letter of /proc/PID/stat has been this one for 50 ms; false after 10 s.
bool AwaitState(pid_t pid, char state) {
  int seen = 0;
  for (int i = 0; i < 1000 && seen < 5; ++i) {
    std::ifstream stream("/proc/" + std::to_string(pid) + "/stat");
    std::string id, name, letter;
    stream >> id >> name >> letter;
    seen = letter == std::string(1, state) ? seen + 1 : 0;
    ::poll(nullptr, 0, 10);
  }
  return seen == 5;
}

TEST(StacksTest, FramesOfGdbAreThoseOfTheMainThread) {
  EXPECT_EQ(InnermostFrames("Thread 2 (Thread 0x7f (LWP 12)):\n"
                            "#0  0x00007fa in epoll_wait () from /lib/libc.so.6\n"
                            "#1  0x00007fb in other::Thread::Run () from /lib/libother.so\n"
                            "\n"
                            "Thread 1 (Thread 0x7f (LWP 11) \"rank\"):\n"
                            "#0  0x00007fc in clock_nanosleep () from /lib/libc.so.6\n"
                            "#1  shardcts::(anonymous namespace)::Group<int>::Wait (this=...) at x.cc:3\n"
                            "#2  0x00007fd in shardcts::AllGather(at::Tensor, std::vector<int> const&) () from libx.so\n"
                            "#3  0x00007fe in main ()\n"),
            "shardcts::Group::Wait < shardcts::AllGather < main");
}

TEST(StacksTest, FramesOfTheRankItselfAreDemangled) {
  EXPECT_EQ(InnermostFrames("native stack, innermost first:\n"
                            "build/shardcts-rank(+0x1234)[0x55]\n"
                            "/lib/libc.so.6(clock_nanosleep+0x23)[0x7f]\n"
                            "build/libx.so(_ZN8shardcts4WaitEi+0x42)[0x7f]\n"),
            "shardcts::Wait");
}

TEST(StacksTest, FramesOfPythonComeFirst) {
  EXPECT_EQ(InnermostFrames("Thread 0x0001 (most recent call first):\n"
                            "  File \"/usr/lib/threading.py\", line 9 in wait\n"
                            "\n"
                            "Current thread 0x0002 (most recent call first):\n"
                            "  File \"/a/faulty.py\", line 55 in model_forward\n"
                            "  File \"/a/adapter.py\", line 7 in invoke\n"
                            "native stack, innermost first:\n"
                            "build/libx.so(_ZN8shardcts4WaitEi+0x42)[0x7f]\n"),
            "model_forward (faulty.py:55) < invoke (adapter.py:7)");
}

TEST(StacksTest, TextWithoutStacksHasNone) { EXPECT_EQ(InnermostFrames("(gdb is not here)\n#x\n"), ""); }

TEST(StacksTest, StoppedProcessIsSeenThroughADebuggerAndKeptAlive) {
  const TemporaryFolder folder;
  ChildProcess child({{"sleep", "100"}, {}, folder.path() / "output"});
  ASSERT_TRUE(AwaitState(child.pid(), 'S'));
  ::kill(child.pid(), SIGSTOP);
  ASSERT_TRUE(AwaitState(child.pid(), 'T'));
  const std::filesystem::path log = folder.path() / "rank-3.log";
  std::ofstream(log) << "a line of its own\n";
  const std::string text = TakeStacks({{3, child.pid(), 0, log}}, std::chrono::milliseconds(20'000));
  EXPECT_THAT(text, HasSubstr("rank 3 is stopped by a signal"));
  std::ifstream stream(log);
  const std::string written((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
  EXPECT_THAT(written, HasSubstr("a line of its own\nshardcts: rank 3 does not come back; its stacks:\n"));
  EXPECT_FALSE(child.Poll());
  if (written.find("Operation not permitted") != written.npos) GTEST_SKIP() << "this machine lets no debugger attach";
  EXPECT_THAT(written, HasSubstr("nanosleep"));
}

TEST(StacksTest, DebuggerThatIsNotThereIsSaid) {
  const TemporaryFolder folder;
  ChildProcess child({{"sleep", "100"}, {}, folder.path() / "output"});
  const std::string path = ::getenv("PATH");
  ::setenv("PATH", "/nowhere", 1);
  const std::string text = TakeStacks({{0, child.pid(), 0, folder.path() / "log"}}, std::chrono::milliseconds(2'000));
  ::setenv("PATH", path.c_str(), 1);
  EXPECT_EQ(text, "rank 0 has told nothing");
  std::ifstream stream(folder.path() / "log");
  const std::string written((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
  EXPECT_THAT(written, HasSubstr("gdb is not installed"));
}

}  // namespace
}  // namespace shardcts
