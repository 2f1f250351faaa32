#include "process/log_limit.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "process/event_tail.h"
#include "run_files/file_text.h"
#include "testing/temporary_folder.h"

namespace shardcts {
namespace {

TEST(LogLimitTest, SmallLogsAndWhatIsNoLogStay) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "log";
  std::ofstream(file) << "one line\n";
  LimitLog(file, 9);
  EXPECT_EQ(FileText(file), "one line\n");
  LimitLog(folder.path() / "absent", 9);
  LimitLog(folder.path(), 9);
}

TEST(LogLimitTest, BeginAndEndOfALargeLogAreKeptAndItsWriterGoesOn) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "log";
  const int writer = ::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  const std::string text = "first" + std::string(1000, 'x') + "last";
  ASSERT_EQ(::write(writer, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  LimitLog(file, 40);
  EXPECT_EQ(FileText(file), "firstxxxxx\n[shardcts: 989 bytes of this log were dropped]\nxxxxxxlast");
  ASSERT_EQ(::write(writer, "\nmore\n", 6), 6);
  ::close(writer);
  EXPECT_EQ(LastLine(file), "more");
}

TEST(EventTailTest, ALineWithoutEndIsNotKeptForEver) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "events";
  std::ofstream(file) << std::string(kMaxEventBytes + (1 << 17), 'x');
  EventTail tail(file);
  const std::vector<std::string> lines = tail.ReadLines();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_LT(lines.front().size(), 1000u);
}

}  // namespace
}  // namespace shardcts
