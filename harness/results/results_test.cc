// What of a test's result stands in results.json.
#include "results/results.h"

#include <gtest/gtest.h>

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

TEST(ResultsTest, TimingsStandWhereARankHasMeasured) {
  TestResult result;
  result.ranks.resize(2);
  result.ranks[1].timings = {{"gather", 3, 0.5}, {"hooks", 1, 0.25}};
  const Json ranks = ToJson(result)["ranks"];
  EXPECT_FALSE(ranks[0].contains("timings"));
  EXPECT_EQ(ranks[1]["timings"],
            Json::parse(R"({"gather": {"calls": 3, "seconds": 0.5}, "hooks": {"calls": 1, "seconds": 0.25}})"));
}

TEST(ResultsTest, ARankThatMeasuredNothingHasAnEmptyObject) {
  TestResult result;
  result.ranks.resize(1);
  result.ranks[0].timings.emplace();
  EXPECT_EQ(ToJson(result)["ranks"][0]["timings"], Json::object());
}

}  // namespace
}  // namespace shardcts
