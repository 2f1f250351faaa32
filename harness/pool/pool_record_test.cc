#include "pool/pool_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace shardcts {
namespace {

using testing::HasSubstr;

std::string Started(size_t index, const std::string& test) {
  return R"({"event": "test_started", "test": ")" + test + R"(", "index": )" + std::to_string(index) + "}";
}
std::string Finished(size_t index, const std::string& test, const std::string& verdict = "pass") {
  return R"({"event": "test_finished", "test": ")" + test + R"(", "index": )" + std::to_string(index) +
         R"(, "verdict": ")" + verdict + R"("})";
}

class PoolRecordTest : public testing::Test {
 protected:
  std::string ErrorOf(const std::string& line) {
    try {
      record_.Apply(1, line);
    } catch (const ProtocolError& error) {
      return error.what();
    }
    return "none";
  }
  PoolRecord record_{{"a", "b"}, 2};
};

TEST_F(PoolRecordTest, TestIsOverWhenEveryRankHasLeftIt) {
  record_.Apply(0, Started(0, "a"));
  EXPECT_EQ(record_.Running(), 0u);
  record_.Apply(1, Started(0, "a"));
  record_.Apply(0, Finished(0, "a"));
  record_.Apply(1, Finished(0, "a"));
  EXPECT_TRUE(record_.FinishedByAll(0));
  EXPECT_FALSE(record_.LeftByAll(0));
  record_.Apply(0, Started(1, "b"));
  EXPECT_EQ(record_.Running(), 0u);
  record_.Apply(1, Started(1, "b"));
  EXPECT_TRUE(record_.LeftByAll(0));
  EXPECT_EQ(record_.Running(), 1u);
}

TEST_F(PoolRecordTest, TimingsOfPhasesAreOptional) {
  record_.Apply(0, Started(0, "a"));
  record_.Apply(1, Started(0, "a"));
  record_.Apply(0, R"({"event": "test_finished", "test": "a", "index": 0, "verdict": "pass",
                       "timings": {"gather": {"calls": 3, "seconds": 0.5}, "hooks": {"calls": 1, "seconds": 0.25}}})");
  record_.Apply(1, Finished(0, "a"));
  const auto& timings = record_.Reports(0)[0].timings;
  ASSERT_TRUE(timings.has_value());
  ASSERT_EQ(timings->size(), 2u);
  EXPECT_EQ(timings->front().phase, "gather");
  EXPECT_EQ(timings->front().calls, 3);
  EXPECT_EQ(timings->back().seconds, 0.25);
  EXPECT_FALSE(record_.Reports(0)[1].timings.has_value());
  record_.Apply(1, Started(1, "b"));
  EXPECT_THAT(ErrorOf(R"({"event": "test_finished", "test": "b", "index": 1, "verdict": "pass", "timings": {"x": 1}})"),
              HasSubstr("does not follow the protocol"));
}

TEST_F(PoolRecordTest, InputErrorIsTheFailureToGoBy) {
  record_.Apply(0, R"({"event": "pool_failed", "kind": "harness", "message": "a peer failed"})");
  EXPECT_EQ(record_.FailedRank(), 0);
  record_.Apply(1, R"({"event": "pool_failed", "kind": "input", "message": "no module"})");
  EXPECT_EQ(record_.FailedRank(), 1);
}

TEST_F(PoolRecordTest, LauncherThatStartsAnotherNumberOfRanksIsWrongInput) {
  record_.Apply(0, R"({"event": "rank_started", "pid": 1, "world_size": 1})");
  EXPECT_EQ(record_.FailedRank(), 0);
  EXPECT_EQ(record_.ranks()[0].failed_kind, "input");
  EXPECT_EQ(record_.ranks()[0].failed_message, "the launcher started 1 ranks, the plan needs 2");
}

TEST_F(PoolRecordTest, UnfinishedRanksAreAborted) {
  record_.Apply(0, Started(0, "a"));
  record_.Apply(0, Finished(0, "a", "fail"));
  EXPECT_EQ(record_.RankThatStopped(0), 0);
  record_.AbortUnfinished(0, "killed");
  EXPECT_EQ(record_.Reports(0)[1].verdict, RankVerdict::kAborted);
  EXPECT_EQ(record_.Reports(0)[0].verdict, RankVerdict::kFail);
}

TEST_F(PoolRecordTest, TextsOfRanksAreBounded) {
  record_.Apply(0, Started(0, "a"));
  const std::string text(1'000'001, 'x');
  record_.Apply(0, R"({"event": "test_finished", "test": "a", "index": 0, "verdict": "fail", "reason": ")" + text +
                       R"(", "failures": [{"check": "C1", "message": ")" + text + R"(", "line": 3}]})");
  const RankReport& report = record_.Reports(0)[0];
  EXPECT_THAT(report.reason, testing::EndsWith("xx… (1000001 bytes)"));
  EXPECT_LT(report.reason.size() + report.failures.front().message.size(), 140'000u);
}

TEST_F(PoolRecordTest, NumbersAndListsOfRanksAreBounded) {
  const auto finished = [](const std::string& rest) {
    return R"({"event": "test_finished", "test": "a", "index": 0, "verdict": "pass", )" + rest + "}";
  };
  ErrorOf(Started(0, "a"));
  for (const char* rest :
       {R"("seconds": -1)", R"("seconds": 1e999)", R"("seconds": "1")", R"("checks": {"C1": {"evaluated": -1}})",
        R"("checks": {"C1": {"evaluated": 1.5}})", R"("checks": {"C1": 5})", R"("checks": [])",
        R"("failures": [{"line": 99999999999}])", R"("failures": {})", R"("device_limited": {"C1": ""})",
        R"("device_limited": {"C1": 5})", R"("timings": {"x": {"calls": -1, "seconds": 0}})", R"("reason": 5)"}) {
    EXPECT_THAT(ErrorOf(finished(rest)), HasSubstr("does not follow the protocol")) << rest;
  }
  std::string many;
  for (int i = 0; i < 2000; ++i) many += (i > 0 ? ", " : "") + ("\"C" + std::to_string(i) + "\": {}");
  EXPECT_THAT(ErrorOf(finished("\"checks\": {" + many + "}")), HasSubstr("checks has more than 1000 entries"));
  EXPECT_THAT(ErrorOf(std::string(1'000'000, '[')), HasSubstr("does not follow the protocol"));
  EXPECT_THAT(ErrorOf(R"({"event": "rank_started", "pid": -1})"), HasSubstr("no count: -1"));
  EXPECT_THAT(ErrorOf(R"({"event": "rank_started", "pid": 5, "stack_signal": 99})"), HasSubstr("no signal: 99"));
  EXPECT_THAT(ErrorOf(R"({"event": "pool_ready", "implementation": {"name": 5, "capabilities": []}})"),
              HasSubstr("name: expected a text, got 5"));
}

TEST_F(PoolRecordTest, LinesThatBreakTheProtocolNameTheRank) {
  EXPECT_THAT(ErrorOf("{\"event\": "),
              HasSubstr("rank 1 wrote an event that does not follow the protocol: {\"event\""));
  EXPECT_THAT(ErrorOf(R"({"event": "sang"})"), HasSubstr("unknown event 'sang'"));
  EXPECT_THAT(ErrorOf(Started(0, "b")), HasSubstr("test b is not number 0 of the plan"));
  EXPECT_THAT(ErrorOf(Started(1, "b")), HasSubstr("started out of order"));
  EXPECT_THAT(ErrorOf(Finished(0, "a")), HasSubstr("was not running"));
  ErrorOf(Started(0, "a"));
  EXPECT_THAT(ErrorOf(Finished(0, "a", "great")), HasSubstr("unknown verdict 'great'"));
}

}  // namespace
}  // namespace shardcts
