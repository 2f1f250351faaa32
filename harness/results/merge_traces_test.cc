#include "results/merge_traces.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "run_files/json_file.h"
#include "run_files/run_folder.h"
#include "testing/temporary_folder.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

class MergeTracesTest : public testing::Test {
 protected:
  void WriteTrace(int rank, const std::string& text) {
    const auto file = RankTrace(folder_.path(), "s/t", rank);
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  static std::string Line(int step, const std::string& op, const std::string& args, int value) {
    return R"({"step": )" + std::to_string(step) + R"(, "op": ")" + op + R"(", "args": )" + args +
           R"(, "outcome": {"value": )" + std::to_string(value) + R"(}, "warnings": [], "seconds": 0.1})" + "\n";
  }
  Json Merge() {
    EXPECT_TRUE(MergeTraces(folder_.path(), "s/t", {"impl", "s/t", 2, 7}));
    return ReadJsonFile(MergedTrace(folder_.path(), "s/t"));
  }

  TemporaryFolder folder_;
};

TEST_F(MergeTracesTest, EqualArgumentsAreWrittenOnce) {
  WriteTrace(0, Line(0, "model.build", R"({"a": 1})", 1) + Line(1, "model.wrap", R"({"r": 0})", 2));
  WriteTrace(1, Line(0, "model.build", R"({"a": 1})", 3) + Line(1, "model.wrap", R"({"r": 1})", 2));
  const Json script = Merge();
  EXPECT_EQ(script["contract"], 1);
  EXPECT_EQ(script["test"], "s/t");
  EXPECT_EQ(script["seed"], 7);
  EXPECT_FALSE(script.contains("truncated"));
  EXPECT_EQ(script["steps"][0].dump(),
            R"({"step":0,"op":"model.build","args":{"a":1},"ranks":"all","outcomes":[{"value":1},{"value":3}]})");
  EXPECT_EQ(script["steps"][1]["args_by_rank"], Json::parse(R"([{"r": 0}, {"r": 1}])"));
}

TEST_F(MergeTracesTest, StepsOfSomeRanksNameThem) {
  WriteTrace(0, Line(0, "a", "{}", 1) + Line(2, "c", "{}", 1));
  WriteTrace(1, Line(0, "a", "{}", 1) + Line(1, "b", "{}", 5) + Line(2, "d", "{}", 1));
  const Json steps = Merge()["steps"];
  ASSERT_EQ(steps.size(), 4u);
  EXPECT_EQ(steps[1]["op"], "b");
  EXPECT_EQ(steps[1]["ranks"], Json({1}));
  EXPECT_EQ(steps[1]["outcomes"], Json::parse(R"([null, {"value": 5}])"));
  EXPECT_EQ(steps[2]["op"], "c");
  EXPECT_EQ(steps[3]["op"], "d");
}

TEST_F(MergeTracesTest, LastLineOfACrashedRankIsLeftOut) {
  WriteTrace(0, Line(0, "a", "{}", 1) + Line(1, "b", "{}", 1));
  WriteTrace(1, Line(0, "a", "{}", 1) + R"({"step": 1, "op": "b", "ar)");
  const Json script = Merge();
  EXPECT_EQ(script["truncated"], true);
  EXPECT_EQ(script["steps"].size(), 2u);
  EXPECT_EQ(script["steps"][1]["ranks"], Json({0}));
}

TEST_F(MergeTracesTest, NoTraceGivesNoFile) {
  EXPECT_FALSE(MergeTraces(folder_.path(), "s/t", {"impl", "s/t", 2, 7}));
  EXPECT_FALSE(std::filesystem::exists(MergedTrace(folder_.path(), "s/t")));
}

}  // namespace
}  // namespace shardcts
