#include "run_files/json_file.h"

#include <gtest/gtest.h>

#include <fstream>

#include "run_files/input_error.h"
#include "testing/temporary_folder.h"

namespace shardcts {
namespace {

class ReadJsonFileTest : public testing::Test {
 protected:
  // What is wrong with a file of this text, without its name.
  std::string ErrorOf(const std::string& text, uintmax_t max_bytes = kMaxJsonFileBytes) {
    std::ofstream(file_, std::ios::binary) << text;
    return ErrorOfFile(file_, max_bytes);
  }
  static std::string ErrorOfFile(const std::filesystem::path& file, uintmax_t max_bytes = kMaxJsonFileBytes) {
    try {
      ReadJsonFile(file, max_bytes);
    } catch (const InputError& error) {
      const std::string message = error.what();
      const std::string name = file.string() + ": ";
      return message.starts_with(name) ? message.substr(name.size()) : "without the name of the file: " + message;
    }
    return "none";
  }

  TemporaryFolder folder_;
  const std::filesystem::path file_ = folder_.path() / "x.json";
};

TEST_F(ReadJsonFileTest, ReadsInOrder) {
  std::ofstream(file_) << R"({"b": 1, "a": [2]})"
                       << "\n";
  EXPECT_EQ(ReadJsonFile(file_).dump(), R"({"b":1,"a":[2]})");
}

TEST_F(ReadJsonFileTest, ErrorsNameLineAndColumn) {
  EXPECT_EQ(ErrorOf("hello"), "line 1, column 1: not JSON");
  EXPECT_EQ(ErrorOf("{\"a\": x}"), "line 1, column 7: not JSON");
  EXPECT_EQ(ErrorOf("{\n \"a\": 1,\n  ]\n}"), "line 3, column 3: not JSON");
  EXPECT_EQ(ErrorOf("{} {}"), "line 1, column 4: not JSON");
}

TEST_F(ReadJsonFileTest, TextThatEndsTooEarlyIsTruncated) {
  EXPECT_EQ(ErrorOf(""), "line 1, column 1: truncated");
  EXPECT_EQ(ErrorOf("{\"a\": [1,\n2"), "line 2, column 2: truncated");
  EXPECT_EQ(ErrorOf("{\"a\": \"te"), "line 1, column 10: truncated");
}

TEST_F(ReadJsonFileTest, NoKeyStandsTwiceInAnObject) {
  EXPECT_EQ(ErrorOf(R"({"a": 1, "b": 2, "a": 3})"), R"(key "a" stands twice)");
  EXPECT_EQ(ErrorOf(R"({"steps": [1, [], {}, {"args": {"a": {"x": 1}, "b": {"x": 1, "\u0078": 2}}}]})"),
            R"(steps[3].args.b: key "x" stands twice)");
  EXPECT_EQ(ErrorOf("[{\"a\": 1}, {\"a\\n\": {\"\": 1, \"\": 2}}]"), R"([1].a\n: key "" stands twice)");
  EXPECT_EQ(ErrorOf(R"([{"a": {"a": [{"a": 1}, {"a": 1}]}}, "a", "a"])"), "none");
}

TEST_F(ReadJsonFileTest, NumbersOutOfRangeAreNamedWithTheirPlace) {
  EXPECT_EQ(ErrorOf("[1,\n 1e999]"), "line 2, column 6: a number that is out of range");
  EXPECT_EQ(ErrorOf("{\"a\": " + std::string(5000, '9') + "}"), "line 1, column 5006: a number that is out of range");
}

TEST_F(ReadJsonFileTest, WhatIsNotUtf8IsNotJson) { EXPECT_EQ(ErrorOf("[\"\xff\"]"), "line 1, column 3: not JSON"); }

TEST_F(ReadJsonFileTest, DepthIsLimited) {
  const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_EQ(ErrorOf(nested(kMaxJsonDepth)), "none");
  EXPECT_EQ(ErrorOf(nested(kMaxJsonDepth + 1)), "nested more than 500 deep");
  EXPECT_EQ(ErrorOf(std::string(1'000'000, '[')), "nested more than 500 deep");
}

TEST_F(ReadJsonFileTest, SizeIsLimited) {
  EXPECT_EQ(ErrorOf("[1, 2]", 6), "none");
  EXPECT_EQ(ErrorOf("[1, 2]", 5), "larger than 5 bytes");
}

TEST_F(ReadJsonFileTest, WhatIsNoFileCannotBeRead) {
  EXPECT_EQ(ErrorOfFile(folder_.path()), "cannot be read");
  EXPECT_EQ(ErrorOfFile(folder_.path() / "absent.json"), "cannot be read");
}

}  // namespace
}  // namespace shardcts
