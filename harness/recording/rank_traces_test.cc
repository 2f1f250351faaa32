#include "recording/rank_traces.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "run_files/input_error.h"
#include "testing/temporary_folder.h"

namespace shardcts {
namespace {

using ::testing::HasSubstr;

class RankTracesTest : public testing::Test {
 protected:
  void Write(int rank, const std::string& text, const std::string& header = kHeader) {
    std::ofstream(folder_.path() / ("rank-" + std::to_string(rank) + ".jsonl")) << header << text;
  }
  static std::string Line(int step, const std::string& op, const std::string& args, int value) {
    return R"({"step": )" + std::to_string(step) + R"(, "op": ")" + op + R"(", "args": )" + args +
           R"(, "outcome": {"value": )" + std::to_string(value) + R"(}, "seconds": 0.1})" + "\n";
  }
  Json Read() const { return ReadRankTraces(folder_.path()); }
  std::string Error() const {
    try {
      Read();
    } catch (const InputError& error) {
      return error.what();
    }
    return "none";
  }

  static constexpr const char* kHeader =
      "{\"recording\": 2, \"contract\": 1, \"implementation\": \"impl\", \"test\": \"s/t\", \"world_size\": 2, \"seed\": 7}\n";
  TemporaryFolder folder_;
};

TEST_F(RankTracesTest, EqualArgumentsStandOnce) {
  Write(0, Line(0, "model.build", R"({"a": 1})", 1) + Line(1, "model.wrap", R"({"r": 0})", 2));
  Write(1, Line(0, "model.build", R"({"a": 1})", 3) + Line(1, "model.wrap", R"({"r": 1})", 2));
  const Json script = Read();
  EXPECT_EQ(script["contract"], 1);
  EXPECT_EQ(script["test"], "s/t");
  EXPECT_EQ(script["seed"], 7);
  EXPECT_FALSE(script.contains("truncated"));
  EXPECT_EQ(script["steps"][0].dump(),
            R"({"step":0,"op":"model.build","args":{"a":1},"ranks":"all","outcomes":[{"value":1},{"value":3}]})");
  EXPECT_EQ(script["steps"][1]["args_by_rank"], Json::parse(R"([{"r": 0}, {"r": 1}])"));
}

TEST_F(RankTracesTest, StepsOfSomeRanksNameThem) {
  Write(0, Line(0, "a", "{}", 1) + Line(2, "c", "{}", 1));
  Write(1, Line(0, "a", "{}", 1) + Line(1, "b", "{}", 5) + Line(2, "d", "{}", 1));
  const Json steps = Read()["steps"];
  ASSERT_EQ(steps.size(), 4u);
  EXPECT_EQ(steps[1]["op"], "b");
  EXPECT_EQ(steps[1]["ranks"], Json({1}));
  EXPECT_EQ(steps[1]["outcomes"], Json::parse(R"([null, {"value": 5}])"));
  EXPECT_EQ(steps[2]["op"], "c");
  EXPECT_EQ(steps[3]["op"], "d");
}

TEST_F(RankTracesTest, LastLineOfACrashedRankIsLeftOut) {
  Write(0, Line(0, "a", "{}", 1) + Line(1, "b", "{}", 1));
  Write(1, Line(0, "a", "{}", 1) + R"({"step": 1, "op": "b", "ar)");
  const Json script = Read();
  EXPECT_EQ(script["truncated"], true);
  EXPECT_EQ(script["steps"].size(), 2u);
  EXPECT_EQ(script["steps"][1]["ranks"], Json({0}));
}

TEST_F(RankTracesTest, ARankWithoutATraceHasNoSteps) {
  Write(1, Line(0, "a", "{}", 1));
  EXPECT_EQ(Read()["steps"][0]["outcomes"], Json::parse(R"([null, {"value": 1}])"));
}

TEST_F(RankTracesTest, WhatIsNoTraceNamesFileAndLine) {
  EXPECT_THAT(Error(), HasSubstr("holds no recording"));
  Write(0, "nonsense\n");
  EXPECT_THAT(Error(), HasSubstr("rank-0.jsonl: line 2: not JSON"));
  Write(0, "{\"step\": \"x\", \"op\": \"a\", \"args\": {}, \"outcome\": {}}\n");
  EXPECT_THAT(Error(), HasSubstr("rank-0.jsonl: line 2: not an operation"));
  Write(0, std::string(1000, '[') + "\n");
  EXPECT_THAT(Error(), HasSubstr("rank-0.jsonl: line 2: nested more than 256 deep"));
  Write(0, "", Line(0, "a", "{}", 1));
  EXPECT_THAT(Error(), HasSubstr("rank-0.jsonl: not a recording of format 2"));
  Write(0, "", "{\"recording\": 2, \"world_size\": 1000000}\n");
  EXPECT_THAT(Error(), HasSubstr("rank-0.jsonl: world_size 1000000"));
}

}  // namespace
}  // namespace shardcts
